"""Matrices on disk, against the same in memory."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from plait import matrix
from plait.matrix import DiskMatrix, blocks, some, std_mean


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DiskMatrix, torch.Tensor]:
    """A matrix on disk, written in three parts, and the same in memory; blocks of seven rows."""
    monkeypatch.setattr(matrix, "BLOCK", 7 * 5 * 4)
    plain = np.random.default_rng(0).normal(3, 2, (40, 5)).astype(np.float32)
    made = DiskMatrix.new(tmp_path / "new", 40, 5)
    for first, last in ((25, 40), (0, 10), (10, 25)):
        made.write(first, plain[first:last])
    return made, torch.from_numpy(plain)


@pytest.mark.parametrize(
    "rows",
    [
        slice(None), slice(3, 9), slice(30, 90), slice(0, 0), slice(1, 30, 4), [5], [], [39, 0, 1, 2, 2, 17],
        torch.arange(40) % 3 == 0, torch.tensor([12, 13, 14, 3]),
    ],
)  # fmt: skip
def test_rows(pair: tuple[DiskMatrix, torch.Tensor], rows: object) -> None:
    on_disk, plain = pair
    wanted = torch.tensor(rows, dtype=torch.int64) if isinstance(rows, list) else rows
    assert torch.equal(on_disk[rows], plain[wanted])  # type: ignore[index]


def test_views_of_views(pair: tuple[DiskMatrix, torch.Tensor]) -> None:
    on_disk, plain = pair
    rows, columns = torch.tensor([30, 2, 3, 4, 30, 7, 8, 9]), torch.tensor([4, 1, 2])
    view, seen = some(on_disk, rows, columns), plain[rows][:, columns]
    assert view.shape == (8, 3) == (len(view), 3)
    assert torch.equal(view[:], seen)
    assert torch.equal(view[2:5], seen[2:5])
    other = some(view, torch.tensor([5, 0]), torch.tensor([2, 0]))
    assert torch.equal(other[:], seen[[5, 0]][:, [2, 0]])
    assert torch.equal(some(view, columns=torch.tensor([1]))[:], seen[:, [1]])


def test_blocks_are_all_rows_in_order(pair: tuple[DiskMatrix, torch.Tensor]) -> None:
    on_disk, plain = pair
    parts = list(blocks(on_disk))
    assert [len(block) for _, block in parts] == [7, 7, 7, 7, 7, 5]
    assert torch.equal(torch.cat([block for _, block in parts]), plain)
    assert all(torch.equal(plain[rows], block) for rows, block in parts)
    ((rows, block),) = blocks(plain)
    assert rows == slice(0, 40)
    assert block is plain


def test_moments(pair: tuple[DiskMatrix, torch.Tensor]) -> None:
    for found, expected in zip(std_mean(pair[0]), std_mean(pair[1]), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_file_without_a_name_goes_with_its_matrix(pair: tuple[DiskMatrix, torch.Tensor], tmp_path: Path) -> None:
    assert not list((tmp_path / "new").iterdir())
    made = DiskMatrix.new(tmp_path / "new", 1 << 20, 16)
    view, number = made.view(torch.tensor([1])), made.held.file.fileno()
    del made
    gc.collect()
    assert os.fstat(number).st_size == 1 << 26
    assert torch.equal(view[:], torch.zeros(1, 16))
    del view
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_file_cut_short(pair: tuple[DiskMatrix, torch.Tensor]) -> None:
    pair[0].held.file.truncate(100)
    with pytest.raises(OSError, match="the file of features ends before its last row"):
        pair[0][39:]
