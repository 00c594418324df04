"""Folders of tuned encoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plait.data.images import content_hash
from plait.data.sketch import Sketch
from plait.errors import RunError
from plait.training.encoders.folder import Training, facts_of, key_of


def hashes(numbers: range) -> list[bytes]:
    return [content_hash(str(i).encode()) for i in numbers]


def test_a_folder_appears_whole_and_its_training_disappears(tmp_path: Path) -> None:
    training = Training(tmp_path / "deep" / "tuned", "k")
    training.checkpoint.write_bytes(b"state")
    assert training.resumes
    assert not training.folder.exists()
    seen = Sketch.of_texts(["a"], [])
    training.finish(lambda folder: (folder / "weights").write_text("w"), {"curve": [1]}, seen)
    assert sorted(path.name for path in training.folder.iterdir()) == ["seen.safetensors", "tuning.json", "weights"]
    assert facts_of(training.folder) == {"curve": [1]}
    assert [path.name for path in training.folder.parent.iterdir()] == ["tuned"]


def test_an_unfinished_training_is_gone_on_with_only_by_its_own_key(tmp_path: Path) -> None:
    first = Training(tmp_path / "tuned", "k")
    first.checkpoint.write_bytes(b"state")
    assert Training(tmp_path / "tuned", "k").resumes
    with pytest.raises(RunError, match="holds an unfinished training on other rows or settings; repeat that command"):
        Training(tmp_path / "tuned", "other")
    assert not Training(tmp_path / "tuned", "other", overwrite=True).resumes


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty; choose another folder, or replace it with overwrite=True"):
        Training(tmp_path, "k")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        Training(tmp_path / "file" / "tuned", "k")


def test_keys_tell_rows_order_and_settings_apart() -> None:
    a, b = hashes(range(2))
    keys = [key_of(1, [a, b]), key_of(1, [b, a]), key_of(2, [a, b]), key_of(1, [a, None]), key_of(1, [a])]
    assert len(set(keys)) == 5
    assert key_of({"x": 1, "y": 2}, [a]) == key_of({"y": 2, "x": 1}, [a])


def test_a_folder_without_facts(tmp_path: Path) -> None:
    assert facts_of(tmp_path) == {}
    (tmp_path / "tuning.json").write_text(json.dumps([1]))
    assert facts_of(tmp_path) == {}
