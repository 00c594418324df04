"""What a store keeps, shown and cleared by encoder and by age."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from plait.cli import app
from plait.data.images import content_hash
from plait.data.pairs import Pairs
from plait.encoders.text import SentenceEncoder
from plait.errors import DataError
from plait.features.cleanup import chosen, clear, compact, kept
from plait.features.encode import encode_texts
from plait.features.store import FeatureStore

DAY = 86_400


@pytest.fixture
def filled(store: FeatureStore) -> FeatureStore:
    """Two encoders' features, the first of them not used for forty days, a tuned encoder and weights."""
    for name, rows in (("old", 300), ("new", 100)):
        hashes = [content_hash(f"{i}".encode()) for i in range(rows)]
        for first in range(0, rows, 50):
            table = store.table(f"{name}print", name)
            table.append(hashes[first : first + 50], np.ones((50, 64), np.float32), [None] * 50)
    (store.folder / "costs").mkdir()
    (store.folder / "costs" / "oldprint.json").write_text("{}")
    tuned = store.folder / "encoders" / "abc"
    tuned.mkdir(parents=True)
    (tuned / "tuning.json").write_text('{"modality": "image"}')
    (store.folder / "weights").mkdir()
    (store.folder / "weights" / "lite0.safetensors").write_bytes(bytes(1000))
    aged(store.folder / "features" / "oldprint.lance", 40)
    aged(store.folder / "features" / "oldprint.json", 40)
    aged(store.folder / "costs" / "oldprint.json", 40)
    return store


def aged(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    for one in [path, *path.rglob("*")]:
        os.utime(one, (then, then))


def test_fitted_heads_are_cleared_by_kind_and_age(filled: FeatureStore) -> None:
    heads = filled.folder / "heads"
    heads.mkdir()
    for name, days in (("aa", 40), ("bb", 1)):
        (heads / f"{name}.safetensors").write_bytes(bytes(500))
        aged(heads / f"{name}.safetensors", days)
    found = kept(filled.folder)
    assert [(one.name, one.size) for one in chosen(found, ["head"])] == [("fitted head", 500)] * 2
    assert clear(chosen(found, ["head"], unused=30)) == 500
    assert [file.stem for file in heads.iterdir()] == ["bb"]
    assert clear(chosen(kept(filled.folder), ["bb"])) == 500


def test_everything_is_listed(filled: FeatureStore) -> None:
    found = {(one.kind, one.name): one for one in kept(filled.folder)}
    assert set(found) == {
        ("features", "old"), ("features", "new"), ("encoder", "tuned image encoder"), ("weights", "lite0"),
    }  # fmt: skip
    old, new = found["features", "old"], found["features", "new"]
    assert (old.rows, new.rows) == (300, 100)
    assert old.size > 300 * 64 * 4
    assert found["weights", "lite0"].size == 1000
    assert old.days == pytest.approx(40, abs=0.1)
    assert new.days < 0.1
    everything = sum(file.stat().st_size for file in filled.folder.rglob("*") if file.is_file())
    assert sum(one.size for one in kept(filled.folder)) == everything


def test_cleared_by_name_and_age(filled: FeatureStore) -> None:
    assert chosen(kept(filled.folder), ["new"], unused=30) == []
    assert {one.name for one in chosen(kept(filled.folder), ["features"])} == {"old", "new"}
    assert {one.name for one in chosen(kept(filled.folder), ["newpr"])} == {"new"}
    assert len(chosen(kept(filled.folder), ["all"])) == 4
    (gone,) = chosen(kept(filled.folder), unused=30)
    assert clear([gone]) == gone.size
    assert not list(filled.folder.rglob("old*"))
    assert len(kept(filled.folder)) == 3
    with pytest.raises(DataError) as caught:
        chosen(kept(filled.folder), ["minilm"])
    assert str(caught.value) == "'minilm' is not in the store; it holds lite0, new, tuned image encoder"


def test_a_damaged_table_is_listed_and_cleared(filled: FeatureStore) -> None:
    for file in (filled.folder / "features" / "newprint.lance" / "_versions").iterdir():
        file.write_bytes(b"nothing of use")
    (found,) = chosen(kept(filled.folder), ["new"])
    assert found.rows is None
    clear([found])
    assert "new" not in {one.name for one in kept(filled.folder)}


def test_merging_frees_what_was_merged(filled: FeatureStore) -> None:
    assert compact(filled.folder) > 0
    assert len(list((filled.folder / "features" / "oldprint.lance" / "data").iterdir())) == 1
    hashes = [content_hash(f"{i}".encode()) for i in range(300)]
    np.testing.assert_array_equal(filled.table("oldprint").read(hashes, 64), np.ones((300, 64), np.float32))


def test_encoding_names_the_encoder_and_counts_as_use(text_encoder: SentenceEncoder, store: FeatureStore) -> None:
    pairs = Pairs.from_columns(texts=["red soup"])
    encode_texts([text_encoder], pairs, store)
    aged(store.folder, 10)
    (one,) = [one for one in kept(store.folder) if one.kind == "features"]
    assert one.name == text_encoder.name
    assert one.days == pytest.approx(10, abs=0.1)
    encode_texts([text_encoder], pairs, store)
    (one,) = [one for one in kept(store.folder) if one.kind == "features"]
    assert one.days < 0.1


def test_the_command(filled: FeatureStore, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["cache", "--store", str(filled.folder)])
    assert shown.exit_code == 0
    assert "40 days ago" in shown.output
    assert "together" in shown.output
    assert str(filled.folder) in shown.output.splitlines()[-1]
    done = CliRunner().invoke(app, ["cache", "--store", str(filled.folder), "--clear", "old", "--compact"])
    assert done.exit_code == 0
    assert {one.name for one in kept(filled.folder)} == {"new", "tuned image encoder", "lite0"}
    nothing = CliRunner().invoke(app, ["cache", "--store", str(tmp_path / "none")])
    assert nothing.exit_code == 0
    assert not (tmp_path / "none").exists()
