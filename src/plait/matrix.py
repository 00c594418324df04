"""Matrices that stay on disk: more rows than fit in memory, of which those asked for are read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

BLOCK = 1 << 25  # bytes read at once, about
ITEM = 4


class Nameless:
    """An open file that goes when nobody holds it, or the process dies."""

    def __init__(self, folder: Path):
        self.file: FileIO = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


Which = Tensor | Sequence[int] | slice


@dataclass(frozen=True)
class DiskMatrix:
    """A float32 matrix (N, D) in a file, or some of its rows and columns; a `Tensor` as far as it goes.

    ``matrix[rows]`` reads rows into a tensor, ``matrix[:]`` all of them; `view` reads nothing.

    Attributes:
        held: the file, of rows of `width` numbers one after another.
        folder: where it takes space. size: rows in the file.
        rows, columns: (N,) and (D,) numbers of those that are seen; None for all.
    """

    held: Nameless
    folder: Path
    size: int
    width: int
    rows: Tensor | None = None
    columns: Tensor | None = None

    @classmethod
    def new(cls, folder: Path, rows: int, width: int) -> DiskMatrix:
        """A matrix of zeros. Raises OSError where the folder cannot be written."""
        folder.mkdir(parents=True, exist_ok=True)
        held = Nameless(folder)
        held.file.truncate(rows * width * ITEM)
        return cls(held, folder, rows, width)

    def write(self, first: int, block: np.ndarray) -> None:
        """Put (B, width) rows into the file from row `first` on. Raises OSError where the disk is full."""
        data = np.ascontiguousarray(block, np.float32).reshape(-1).view(np.uint8).data
        self.held.file.seek(first * self.width * ITEM)
        while data:
            data = data[self.held.file.write(data) :]

    def __len__(self) -> int:
        return self.size if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are seen."""
        return len(self), self.width if self.columns is None else len(self.columns)

    def view(self, rows: Tensor | None = None, columns: Tensor | None = None) -> DiskMatrix:
        """Some of its rows and columns, by number."""
        if rows is not None and self.rows is not None:
            rows = self.rows[rows]
        if columns is not None and self.columns is not None:
            columns = self.columns[columns]
        rows, columns = (old if new is None else new for new, old in ((rows, self.rows), (columns, self.columns)))
        return DiskMatrix(self.held, self.folder, self.size, self.width, rows, columns)

    def __getitem__(self, rows: Which) -> Tensor:
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if self.rows is None and step == 1:
                return self._seen(self._run(first, max(0, last - first)))
            wanted = torch.arange(first, last, step)
        else:
            wanted = torch.as_tensor(rows)
        if wanted.dtype == torch.bool:
            wanted = wanted.nonzero()[:, 0]
        return self._seen(self._scattered((wanted if self.rows is None else self.rows[wanted]).numpy()))

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """All rows in turn, about `BLOCK` bytes of them at a time."""
        size = max(1, BLOCK // (self.width * ITEM))
        for first in range(0, len(self), size):
            part = slice(first, min(first + size, len(self)))
            yield part, self[part]

    def _seen(self, rows: Tensor) -> Tensor:
        return rows if self.columns is None else rows[:, self.columns]

    def _run(self, first: int, count: int) -> Tensor:
        out = np.empty((count, self.width), np.float32)
        self._read(first, out)
        return torch.from_numpy(out)

    def _scattered(self, rows: np.ndarray) -> Tensor:
        """Rows in any order, neighbours in one go."""
        out = np.empty((len(rows), self.width), np.float32)
        if len(rows):
            starts = np.concatenate([[0], np.flatnonzero(np.diff(rows) != 1) + 1, [len(rows)]])
            for start, end in pairwise(starts):
                self._read(int(rows[start]), out[start:end])
        return torch.from_numpy(out)

    def _read(self, first: int, out: np.ndarray) -> None:
        data = out.reshape(-1).view(np.uint8).data
        self.held.file.seek(first * self.width * ITEM)
        while data:
            read = self.held.file.readinto(data)
            if not read:
                raise OSError("the file of features ends before its last row")
            data = data[read:]


Matrix = Tensor | DiskMatrix


def some(matrix: Matrix, rows: Tensor | None = None, columns: Tensor | None = None) -> Matrix:
    """Rows and columns of a matrix, by number, that are on disk where it is."""
    if isinstance(matrix, DiskMatrix):
        return matrix.view(rows, columns)
    if rows is not None:
        matrix = matrix[rows]
    return matrix if columns is None else matrix[:, columns]


def blocks(matrix: Matrix) -> Iterator[tuple[slice, Tensor]]:
    """The rows of a matrix in turn; all at once where they are in memory."""
    if isinstance(matrix, DiskMatrix):
        yield from matrix.blocks()
    else:
        yield slice(0, len(matrix)), matrix


def std_mean(matrix: Matrix) -> tuple[Tensor, Tensor]:
    """Standard deviation (of a sample) and mean of each column; two passes where the rows are on disk."""
    if not isinstance(matrix, DiskMatrix):
        return torch.std_mean(matrix, dim=0)
    rows, width = matrix.shape
    mean, square = torch.zeros(2, width, dtype=torch.float64)
    for _, block in matrix.blocks():
        mean += block.sum(0, dtype=torch.float64) / rows
    for _, block in matrix.blocks():
        square += ((block - mean.float()) ** 2).sum(0, dtype=torch.float64)
    return (square / max(1, rows - 1)).sqrt().float(), mean.float()
