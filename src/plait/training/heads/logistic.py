"""Multinomial logistic regression, brought to the optimum of its convex loss along a path of L2 strengths.

The loss is that of scikit-learn's ``LogisticRegression``: ``sum_i w_i CE_i + strength / 2 ||W||^2`` with the weights
``w`` of the rows adding up to 1, so ``strength = 1 / (C N)``; the bias is free. L-BFGS works in coordinates in which
the Hessian is nearer to the identity (principal axes of dense features, columns of sparse ones, scaled), so it takes
some tens of steps where plain coordinates take hundreds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.lbfgs import Descent, Function
from plait.processes import add_up, count, number

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

STEPS = 10.0 ** np.arange(0.0, -8, -0.5)  # strengths to try, strongest first, of the variance of the features
START = 10**-4.5  # the first of them tried, or the next weaker one
COARSE, FINE = 3e-5, 1e-5  # change of the loss, of its value, at which a step of the path, and the last, end
GAIN = 1e-3  # of the judged loss, that a weaker strength must bring
NEGLIGIBLE = 1e-7  # variance of a principal axis, of the largest, below which it is left out
LIMIT = 200  # evaluations of the loss for one strength
UNSURE = 0.3  # mean p (1 - p) of a class near the optimum, of its share


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


@dataclass(frozen=True)
class Answers:
    """What is to be learnt: (N,) int64 classes of K, (N,) weights of the rows, and label smoothing in [0, 1)."""

    targets: Tensor
    classes: int
    weights: Tensor
    smoothing: float = 0.0

    def soft(self) -> Tensor:
        """(N, K): each row's share of each class."""
        hot = F.one_hot(self.targets, self.classes).float()
        return hot * (1 - self.smoothing) + self.smoothing / self.classes

    def shares(self) -> Tensor:
        """(K,) of each class, of all the weight."""
        found = torch.zeros(self.classes).index_add_(0, self.targets, self.weights / self.weights.sum())
        return found * (1 - self.smoothing) + self.smoothing / self.classes

    def select(self, rows: Tensor | slice) -> Answers:
        return replace(self, targets=self.targets[rows], weights=self.weights[rows])


@dataclass(frozen=True)
class Solution:
    """An optimum: weight (D, K) in the solver's coordinates, bias (K,), its strength and loss.

    `descent` is what found it, to go on with.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    loss: float
    descent: Descent = field(repr=False)


def solve(
    design: Design, answers: Answers, strength: float, start: Solution | None = None, tolerance: float = FINE
) -> Solution:
    """Minimise the loss for one strength.

    Args:
        start: where to begin, or to go on where it is of the same strength; None: zero weights and the log shares of
            the classes.
        tolerance: change of the loss between two steps, of its value, at which to stop.
    """
    shares = answers.shares()
    # About the diagonal of the Hessian: a column's mean square, of the bias 1, times the mean p (1 - p) of a class.
    spread = UNSURE * shares.clamp_min(1e-4)
    scale = torch.cat([spread * design.moments[:, None] + strength, spread[None]]).rsqrt()
    if start is not None and start.strength == strength:
        descent = start.descent
    else:
        plain = torch.cat([torch.zeros(len(scale) - 1, len(shares)), shares.clamp_min(1e-6).log()[None]])
        if start is not None:
            plain = torch.cat([start.weight, start.bias[None]])
        descent = Descent(_loss(design, answers, strength, scale), plain / scale)
    descent.run(tolerance * max(descent.value, 1e-3), LIMIT)
    found = descent.point * scale
    return Solution(found[:-1], found[-1].clone(), strength, descent.value, descent)


def _loss(design: Design, answers: Answers, strength: float, scale: Tensor) -> Function:
    """The loss and its gradient at weights above a bias (D + 1, K), both divided by `scale`.

    Of several processes each passes over its share of the rows.
    """
    share = (answers.weights / answers.weights.sum())[:, None]
    if count() > 1:
        rows = torch.arange(len(share)).tensor_split(count())[number()]
        design, answers, share = design.select(rows), answers.select(rows), share[rows]
    whole: list[Tensor] = []  # in a design that is read at once, it is the same every time

    def soft(rows: slice) -> Tensor:
        if rows != slice(None):
            return answers.select(rows).soft() * share[rows]
        if not whole:
            whole.append(answers.soft() * share)
        return whole[0]

    def loss(point: Tensor) -> tuple[float, Tensor]:
        found = point * scale
        weight, bias = found[:-1], found[-1]
        value, slope = 0.0, torch.zeros_like(bias)

        def error(rows: slice, answers: Tensor) -> Tensor:
            nonlocal value
            log_probs = (answers + bias).log_softmax(1)
            wanted = soft(rows)
            value -= (wanted * log_probs).sum().item()
            found = log_probs.exp_().mul_(share[rows]).sub_(wanted)
            slope.add_(found.sum(0))
            return found

        gradient = torch.cat([design.pull(weight, error), slope[None]])
        total = add_up(torch.tensor(value, dtype=torch.float64)).item()
        add_up(gradient)[:-1].add_(weight, alpha=strength)
        return total + strength / 2 * (weight**2).sum().item(), gradient.mul_(scale)

    return loss


@dataclass(frozen=True)
class Trial:
    """A design to fit, and how a solution of it is judged on other rows (a loss)."""

    design: Design
    answers: Answers
    judge: Callable[[Solution], float]


def best_strength(trials: Sequence[Trial], steps: Sequence[float] | np.ndarray = STEPS) -> list[Solution]:
    """The optima of the strength with the least judged loss, added over the trials; to within `COARSE` of it.

    Strengths go down from `START`, each from the optimum before it, until the loss gets no better; if it got none at
    once, up until it gets worse: where the rows say little, the loss hardly changes over many weak strengths.

    Args:
        trials: the folds of a cross-validation, or one with validation rows.
        steps: strengths, in units of the total variance of the features, in falling order.
    """
    variance = float(trials[0].design.moments.sum())

    def attempt(step: float, near: _Found | None) -> _Found:
        starts = near.solutions if near is not None else [None] * len(trials)
        found = [
            solve(trial.design, trial.answers, step * variance, start, COARSE)
            for trial, start in zip(trials, starts, strict=True)
        ]
        return _Found(sum(trial.judge(solution) for trial, solution in zip(trials, found, strict=True)), found)

    values = [float(step) for step in steps]
    first = next((i for i, step in enumerate(values) if step <= START * 1.01), 0)
    begin = best = attempt(values[first], None)
    for step in values[first + 1 :]:
        weaker = attempt(step, best)
        if weaker.loss >= best.loss * (1 - GAIN):
            break
        best = weaker
    if best is not begin:
        return best.solutions
    last = begin
    for step in reversed(values[:first]):
        last = attempt(step, last)
        if last.loss > best.loss * (1 + COARSE):
            break
        best = min(best, last, key=lambda found: found.loss)
    return best.solutions


@dataclass(frozen=True)
class _Found:
    loss: float
    solutions: list[Solution]
