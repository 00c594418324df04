"""Heads that are kept: told apart by what they were fitted to, and the same when they come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from scipy.sparse import csr_matrix

from plait.config import HeadConfig
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.modality import MODALITIES
from plait.fusion.spec import MODELS
from plait.matrix import DiskMatrix
from plait.training.heads import early, experts, kept
from plait.training.heads.fitter import Fitter
from plait.training.heads.kept import KeptHeads, key_of
from plait.training.heads.task import Task
from telling import config, small

X = torch.arange(12.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (X.view(3, 4), X.view(4, 3)),
        (X, X.double()),
        (X, torch.cat([X[:-1], torch.tensor([11.001])])),
        ([X, None], [None, X]),
        ([[1, 2], [3]], [[1], [2, 3]]),
        (csr_matrix(np.eye(3)), csr_matrix(np.eye(4)[:3])),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        (HeadConfig(), HeadConfig(hidden=511)),
        (HeadInputs({"image": X[None]}, {"image": X[:1] > 0}), HeadInputs({"text": X[None]}, {"text": X[:1] > 0})),
        (0.1, 0.1 + 1e-12),
    ],
)  # fmt: skip
def test_a_key_tells_things_apart(one: Any, other: Any) -> None:
    assert key_of(one) != key_of(other)


def test_a_key_is_of_the_content_alone() -> None:
    wide = X.view(3, 4)
    assert key_of(wide.T) == key_of(wide.T.contiguous())
    assert key_of({"a": X, "b": 1}) == key_of({"b": 1, "a": X.clone()})
    assert key_of(frozenset(["image", "text"])) == key_of(frozenset(["text", "image"]))
    assert key_of(X) != key_of(X.numpy().tolist())


def test_what_stays_on_disk_has_none(tmp_path: Path) -> None:
    assert key_of({"train": DiskMatrix.new(tmp_path, 2, 2)}) is None
    heads = KeptHeads(tmp_path / "heads")
    found = heads.get([DiskMatrix.new(tmp_path, 2, 2)], lambda: ({"x": X}, {}))
    assert (found.before, (tmp_path / "heads").exists()) == (False, False)


def fails() -> Any:
    raise AssertionError("fitted anew")


def test_the_same_parts_are_fitted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heads = KeptHeads(tmp_path)
    first = heads.get([X, 1], lambda: ({"x": X.view(3, 4).T}, {"curve": [{"epoch": 1.0}]}))
    assert not first.before
    for _ in range(2):
        again = heads.get([X, 1], fails)
        assert again.before
        assert torch.equal(again.tensors["x"], X.view(3, 4).T)
        assert (again.facts, again.seconds) == ({"curve": [{"epoch": 1.0}]}, first.seconds)
    assert capsys.readouterr().err.count("heads that were fitted to the same rows before come from the store") == 1
    with pytest.raises(AssertionError, match="fitted anew"):
        heads.get([X, 2], fails)


@pytest.mark.parametrize("damage", [b"", b"x" * 40, None])
def test_a_damaged_file_is_fitted_anew(damage: bytes | None, tmp_path: Path) -> None:
    heads = KeptHeads(tmp_path)
    heads.get([1], lambda: ({"x": X}, {}))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9] if damage is None else damage)
    assert not heads.get([1], lambda: ({"x": X}, {})).before
    assert heads.get([1], fails).before


@pytest.mark.parametrize("error", [OSError, safetensors.SafetensorError])
def test_a_disk_that_takes_nothing_loses_nothing(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    found = KeptHeads(tmp_path).get([1], lambda: ({"x": X}, {}))
    assert torch.equal(found.tensors["x"], X)
    assert not list(tmp_path.iterdir())


def test_several_processes_fit_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "count", lambda: 2)
    heads = KeptHeads(tmp_path)
    for _ in range(2):
        assert not heads.get([1], lambda: ({"x": X}, {})).before
    assert not list(tmp_path.iterdir())


def answers(task: Task, *overrides: str) -> dict[str, torch.Tensor]:
    """What each model says of the validation rows."""
    fitter = Fitter(task, config(*overrides))
    return {name: logits(fitter.fit(name).head, task.val) for name in MODELS}


@pytest.mark.parametrize("few", [True, False], ids=["folds", "whole"])
def test_a_second_comparison_fits_no_head_and_answers_the_same(
    few: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not few:
        monkeypatch.setattr("plait.training.heads.task.CROSS_FIT", 10)
    task, settings = replace(small(), kept=KeptHeads(tmp_path)), ("train.epochs=3",)
    alone, first = answers(replace(task, kept=None), *settings), answers(task, *settings)
    with monkeypatch.context() as patch:
        patch.setattr(experts._Fitting, "fit", fails)
        patch.setattr(early, "train", fails)
        second = answers(task, *settings)
    for name in MODELS:
        assert torch.equal(alone[name], first[name])
        torch.testing.assert_close(second[name], first[name], atol=1e-5, rtol=1e-5)
    # Another label, another fit, and another seed where there is chance.
    monkeypatch.setattr(experts._Fitting, "fit", fails)
    monkeypatch.setattr(early, "train", fails)
    other = replace(task, targets=task.targets.roll(1))
    for changed, seed, model in ((other, 0, "image"), (task, 1, "early")):
        with pytest.raises((AssertionError, TypeError)):
            Fitter(changed, config(*settings, f"seed={seed}")).fit(model)
    for modality in MODALITIES:
        Fitter(task, config(*settings, "seed=1")).fit(modality)
