"""The design of a logistic regression whose features stay on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plait.matrix import DiskMatrix
from plait.training.heads.designs import Design, Error, principal


@dataclass(frozen=True)
class StreamedDesign:
    """Dense features (N, D0) on disk, centred and turned to their principal axes as they are read.

    An evaluation of the loss is one pass over the file; in memory are one block of it, and what is as long as the axes.
    """

    matrix: DiskMatrix
    axes: Tensor
    mean: Tensor
    moments: Tensor

    @classmethod
    def of(cls, matrix: DiskMatrix) -> StreamedDesign:
        """N of at least 1; two passes."""
        rows, width = matrix.shape
        mean = torch.zeros(width, dtype=torch.float64)
        for _, block in matrix.blocks():
            mean += block.sum(0, dtype=torch.float64) / rows
        covariance, centre = torch.zeros(width, width, dtype=torch.float64), mean.float()
        for _, block in matrix.blocks():
            block -= centre
            covariance += (block.T @ block).double() / rows
        axes, moments = principal(covariance)
        return cls(matrix, axes, centre, moments)

    def times(self, weight: Tensor) -> Tensor:
        back = self.axes @ weight
        return torch.cat([block @ back for _, block in self.matrix.blocks()]) - self.mean @ back

    def pull(self, weight: Tensor, error: Error) -> Tensor:
        back = self.axes @ weight
        shift = self.mean @ back
        found, total = torch.zeros_like(back), torch.zeros_like(shift)
        for rows, block in self.matrix.blocks():
            slope = error(rows, block @ back - shift)
            found.addmm_(block.T, slope)
            total += slope.sum(0)
        return self.axes.T @ found.sub_(torch.outer(self.mean, total))

    def squares(self, weight: Tensor, unsure: Error) -> tuple[Tensor, Tensor]:
        back = self.axes @ weight
        shift = self.mean @ back
        found, total = torch.zeros_like(weight), torch.zeros_like(shift)
        for rows, block in self.matrix.blocks():
            said = unsure(rows, block @ back - shift)
            found.addmm_(((block - self.mean) @ self.axes).square_().T, said)
            total += said.sum(0)
        return found, total[None]

    def extended(self, inputs: Any) -> None:
        """Some more rows are not worth passing over so many again."""

    def plain(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (D0, K) and bias for the features as they were given."""
        back = self.axes @ weight
        return back, bias - self.mean @ back

    def select(self, rows: Tensor) -> Design:
        return StreamedDesign(self.matrix.view(rows), self.axes, self.mean, self.moments)
