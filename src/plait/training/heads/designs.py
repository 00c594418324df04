"""Designs of a logistic regression: features in the coordinates that its solver works in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

NEGLIGIBLE = 1e-7  # variance of a principal axis, of the largest, below which it is left out
BLOCK = 4096  # rows that are squared at a time

Error = Callable[[slice, Tensor], Tensor]


class Design(Protocol):
    """Features of N rows in the solver's D coordinates."""

    @property
    def moments(self) -> Tensor: ...  # (D,) mean square of each column

    def times(self, weight: Tensor) -> Tensor: ...  # (D, K) -> (N, K)

    def pull(self, weight: Tensor, error: Error) -> Tensor:
        """The gradient (D, K) at weights (D, K), in one pass over the rows.

        Args:
            error: takes numbers of rows and what the weights make of them (R, K), gives the loss's slope there (R, K).
        """
        ...

    def squares(self, weight: Tensor, unsure: Error) -> tuple[Tensor, Tensor]:
        """``sum_i x_ij^2 u_ik`` (D, K) and ``sum_i u_ik`` (1, K) for what `unsure` says (R, K) at weights (D, K)."""
        ...

    def extended(self, inputs: Any) -> Design | None:
        """With further rows behind its own; None where all would have to be read from disk once more for them."""
        ...

    def plain(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]: ...

    def select(self, rows: Tensor) -> Design: ...


@dataclass(frozen=True)
class DenseDesign:
    """Dense features (N, D0), centred and turned to their principal axes."""

    turned: Tensor
    axes: Tensor
    mean: Tensor
    moments: Tensor

    @classmethod
    def of(cls, features: Tensor) -> DenseDesign:
        """Features (N, D0) float32, N of at least 1."""
        mean = features.mean(0)
        centred = features - mean
        axes, moments = principal((centred.T @ centred / len(features)).double())
        return cls(centred @ axes, axes, mean, moments)

    def times(self, weight: Tensor) -> Tensor:
        return self.turned @ weight

    def pull(self, weight: Tensor, error: Error) -> Tensor:
        return self.turned.T @ error(slice(None), self.times(weight))

    def squares(self, weight: Tensor, unsure: Error) -> tuple[Tensor, Tensor]:
        said = unsure(slice(None), self.times(weight))
        found = torch.zeros_like(weight)
        for rows, part in zip(torch.split(self.turned, BLOCK), torch.split(said, BLOCK), strict=True):
            found.addmm_(rows.square().T, part)
        return found, said.sum(0, keepdim=True)

    def extended(self, inputs: Any) -> DenseDesign:
        """With further rows (R, D0), in the same coordinates."""
        return replace(self, turned=torch.cat([self.turned, (inputs[:] - self.mean) @ self.axes]))

    def plain(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (D0, K) and bias for the features as they were given."""
        back = self.axes @ weight
        return back, bias - self.mean @ back

    def select(self, rows: Tensor) -> DenseDesign:
        return replace(self, turned=self.turned[rows])


def principal(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Principal axes (D0, D) of a covariance (D0, D0) float64, and the variance (D,) along each; float32."""
    variance, axes = torch.linalg.eigh(covariance)
    keep = variance > NEGLIGIBLE * variance.max().clamp_min(1e-30)
    return axes[:, keep].float(), variance[keep].float()


@dataclass(frozen=True)
class SparseDesign:
    """Sparse features (N, D), as they are: a wide TF-IDF matrix need not be squeezed."""

    matrix: csr_matrix
    moments: Tensor
    _rows: Tensor
    _columns: Tensor

    @classmethod
    def of(cls, matrix: csr_matrix) -> SparseDesign:
        """A matrix (N, D) of float32."""
        moments = np.asarray(matrix.multiply(matrix).mean(0), np.float32).ravel()
        return cls(matrix, torch.from_numpy(moments), _csr(matrix), _csr(matrix.T.tocsr()))

    def times(self, weight: Tensor) -> Tensor:
        return self._rows @ weight

    def pull(self, weight: Tensor, error: Error) -> Tensor:
        return self._columns @ error(slice(None), self.times(weight))

    def squares(self, weight: Tensor, unsure: Error) -> tuple[Tensor, Tensor]:
        said = unsure(slice(None), self.times(weight))
        return _csr(self.matrix.multiply(self.matrix).T.tocsr()) @ said, said.sum(0, keepdim=True)

    def extended(self, inputs: Any) -> SparseDesign:
        """With further rows (R, D)."""
        from scipy.sparse import vstack

        return SparseDesign.of(vstack([self.matrix, inputs], format="csr"))

    def plain(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight, bias

    def select(self, rows: Tensor) -> SparseDesign:
        part = self.matrix[rows.numpy()]
        return replace(self, matrix=part, _rows=_csr(part), _columns=_csr(part.T.tocsr()))


def _csr(matrix: csr_matrix) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)")  # PyTorch calls them a beta
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)), torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data.astype(np.float32)), matrix.shape,
        )  # fmt: skip
