"""Epochs of rows in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.telling import accuracy, config, generator, modalities, said, small

from plait.fusion.inputs import HeadInputs, logits
from plait.matrix import DiskMatrix
from plait.training.heads import batches as module
from plait.training.heads.batches import batches
from plait.training.heads.fitter import Fitter
from plait.training.heads.task import Task

WIDTH = 3


def numbered(rows: int, folder: Path | None) -> HeadInputs:
    """Rows that tell their numbers, with the image on disk where there is a folder."""
    plain = torch.arange(rows, dtype=torch.float32)[:, None].expand(-1, WIDTH).contiguous()
    inputs = modalities(plain, plain[:, :1])
    return inputs if folder is None else stored(inputs, folder)


def stored(inputs: HeadInputs, folder: Path) -> HeadInputs:
    features = {}
    for modality, plain in inputs.features.items():
        features[modality] = DiskMatrix.new(folder, *plain.shape)
        features[modality].write(0, plain[:].numpy())
    return HeadInputs(features, inputs.present)


@pytest.mark.parametrize("rows", [1, 31, 32, 500, 1000])
@pytest.mark.parametrize("disk", [False, True])
def test_each_row_once(rows: int, disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER", 4 * 4 * 128)
    monkeypatch.setattr(module, "BLOCKS", 4)
    found = list(batches(numbered(rows, tmp_path if disk else None), 32, generator(0)))
    assert len(found) == -(-rows // 32)
    assert torch.equal(torch.cat([numbers for _, numbers in found]).sort().values, torch.arange(rows))
    assert sorted(len(numbers) for _, numbers in found)[1:] == [32] * (len(found) - 1)
    for inputs, numbers in found:
        assert torch.equal(inputs.features["image"][:, 0], numbers.float())
        assert torch.equal(inputs.features["text"][:, 0], numbers.float())


def test_few_rows_on_disk_are_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,024 rows at most 128, from four blocks that are not all neighbours; another epoch draws others."""
    monkeypatch.setattr(module, "TOGETHER", 4 * 4 * 128)
    monkeypatch.setattr(module, "BLOCKS", 4)
    read: list[int] = []
    monkeypatch.setattr(DiskMatrix, "_read", watched(DiskMatrix._read, read))
    g = generator(0)
    first, second = (torch.cat([numbers for _, numbers in batches(numbered(1024, tmp_path), 32, g)]) for _ in range(2))
    assert max(read) <= 128
    assert not torch.equal(first, second)
    together = {int(n) // 32 for n in first[:128]}
    assert len(together) == 4
    assert max(together) - min(together) > 4
    assert not torch.equal(first[:128], first[:128].sort().values)


def watched(function, sizes):  # type: ignore[no-untyped-def]
    def read(self, first, out):  # type: ignore[no-untyped-def]
        sizes.append(len(out))
        return function(self, first, out)

    return read


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_heads_on_disk_are_those_in_memory(kind: str, tmp_path: Path) -> None:
    g, classes = generator(1), 5
    targets, val = torch.arange(2500) % classes, torch.arange(400) % classes
    task = Task(
        train=modalities(said(targets, 0.5, classes, g), said(targets, 0.8, classes, g)),
        targets=targets, folds=torch.arange(2500) // classes % 3,
        val=modalities(said(val, 0.5, classes, g), said(val, 0.8, classes, g)), val_targets=val, classes=classes,
    )  # fmt: skip
    task.train.present["text"][::7] = False
    disk = Task(
        stored(task.train, tmp_path), task.targets, task.folds, stored(task.val, tmp_path), task.val_targets, classes
    )
    fitters = [Fitter(one, config(f"head.kind={kind}", "train.epochs=8")) for one in (task, disk)]
    for model in ("image", "text", "late", "early"):
        memory, streamed = (logits(fitter.fit(model).head, task.val) for fitter in fitters)
        if kind == "linear" and model != "early":
            torch.testing.assert_close(streamed.softmax(1), memory.softmax(1), atol=5e-3, rtol=0)
        assert accuracy(streamed, val) == pytest.approx(accuracy(memory, val), abs=0.02)


def test_few_rows_are_fitted_fold_by_fold(tmp_path: Path) -> None:
    task = small()
    disk = Task(stored(task.train, tmp_path), task.targets, task.folds, stored(task.val, tmp_path), task.val_targets, 5)
    memory, streamed = (logits(Fitter(one, config()).fit("late").head, task.val) for one in (task, disk))
    assert torch.equal(memory, streamed)
