"""Multinomial logistic regression, brought to the optimum of its convex loss.

The loss is that of scikit-learn's ``LogisticRegression``: ``sum_i w_i CE_i + strength / 2 ||W||^2`` with the weights
``w`` of the rows adding up to 1, so ``strength = 1 / (C N)``; the bias is free. L-BFGS works in coordinates in which
the Hessian is nearer to the identity (principal axes of dense features, columns of sparse ones, scaled), so it takes
some tens of steps where plain coordinates take hundreds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.lbfgs import Descent, Function
from plait.processes import add_up, count, number
from plait.training.heads.designs import Design

# Change of the loss, of its value, at which a descent ends: to compare strengths, to judge the best, to keep it.
COARSE, MEDIUM, FINE = 1e-3, 1e-4, 1e-5
LIMIT = 200  # evaluations of the loss for one strength
UNSURE = 0.3  # mean p (1 - p) of a class near the optimum, of its share
SURE = 0.05  # how much of that it has at least


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

    def counted(self, counts: Tensor) -> Answers:
        """Each row weighing (N,) times as much."""
        return replace(self, weights=self.weights * counts)

    def extended(self, more: Answers) -> Answers:
        """With those of further rows behind."""
        targets, weights = (torch.cat(pair) for pair in ((self.targets, more.targets), (self.weights, more.weights)))
        return replace(self, targets=targets, weights=weights)


@dataclass(frozen=True)
class Solution:
    """Weights (D, K) in the solver's coordinates and bias (K,), near the optimum for a strength, and the loss there.

    `descent` is what found it, in coordinates `scale` (D + 1, K) times smaller, to go on with.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    loss: float
    descent: Descent = field(repr=False)
    scale: Tensor = field(repr=False)

    @classmethod
    def of(cls, descent: Descent, scale: Tensor, strength: float, tolerance: float) -> Solution:
        """Where a descent comes to within a tolerance: a change of the loss between two steps, of its value."""
        descent.run(tolerance * max(descent.value, 1e-3), LIMIT)
        found = descent.point * scale
        return cls(found[:-1], found[-1].clone(), strength, descent.value, descent, scale)

    def refined(self, tolerance: float) -> Solution:
        """The same descent taken further, to a finer tolerance."""
        return Solution.of(self.descent, self.scale, self.strength, tolerance)

    def carried(self, scale: Tensor, strength: float) -> Iterator[tuple[Tensor, Tensor]]:
        """What the descent knows of the curvature, in other coordinates and for another strength.

        A step of the plain weights changes the gradient of the L2 term by the strength times the step.
        """
        ratio, more = self.scale / scale, (strength - self.strength) * scale[:-1] ** 2
        for step, change in self.descent.steps:
            step, change = step * ratio, change / ratio
            change[:-1].addcmul_(more, step[:-1])
            yield step, change


def solve(
    design: Design, answers: Answers, strength: float, start: Solution | None = None, tolerance: float = FINE
) -> Solution:
    """Minimise the loss for one strength.

    Args:
        start: a solution for another strength, or for some of the rows, to begin at; None: zero weights and the log
            shares of the classes.
        tolerance: change of the loss between two steps, of its value, at which to stop.
    """
    loss, shares = _Loss(design, answers, strength), answers.shares()
    if start is None:
        spread = UNSURE * shares.clamp_min(1e-4)
        curvature = torch.cat([spread * design.moments[:, None] + strength, spread[None]])
        plain = torch.cat([torch.zeros(len(curvature) - 1, len(shares)), shares.clamp_min(1e-6).log()[None]])
    else:
        plain = torch.cat([start.weight, start.bias[None]])
        curvature = loss.curvature(plain)
    scale = curvature.rsqrt()
    known = start.carried(scale, strength) if start is not None else ()
    return Solution.of(Descent(loss.scaled(scale), plain / scale, known), scale, strength, tolerance)


class _Loss:
    """The loss at weights above a bias (D + 1, K); of several processes each passes over its share of the rows."""

    def __init__(self, design: Design, answers: Answers, strength: float):
        self.strength = strength
        share = (answers.weights / answers.weights.sum())[:, None]
        least = SURE * UNSURE * answers.shares().clamp_min(1e-4)
        self._least = torch.cat([least * design.moments[:, None], least[None]])
        if count() > 1:
            rows = torch.arange(len(share)).tensor_split(count())[number()]
            design, answers, share = design.select(rows), answers.select(rows), share[rows]
        self._design, self._answers, self._share = design, answers, share
        self._whole: Tensor | None = None  # in a design that is read at once, it is the same every time

    def curvature(self, plain: Tensor) -> Tensor:
        """(D + 1, K): the diagonal of the Hessian, not below a small part of what it is for classes by chance."""

        def unsure(rows: slice, answers: Tensor) -> Tensor:
            probs = (answers + plain[-1]).softmax(1)
            return (1 - probs).mul_(probs).mul_(self._share[rows])

        found = add_up(torch.cat([*self._design.squares(plain[:-1], unsure)]))
        found = torch.maximum(found, self._least)
        found[:-1] += self.strength
        return found

    def scaled(self, scale: Tensor) -> Function:
        """The loss and its gradient at what is plain once multiplied with `scale`."""

        def loss(point: Tensor) -> tuple[float, Tensor]:
            value, gradient = self(point * scale)
            return value, gradient.mul_(scale)

        return loss

    def __call__(self, plain: Tensor) -> tuple[float, Tensor]:
        """The loss and its gradient."""
        weight, bias = plain[:-1], plain[-1]
        value, slope = 0.0, torch.zeros_like(bias)

        def error(rows: slice, answers: Tensor) -> Tensor:
            nonlocal value
            log_probs = (answers + bias).log_softmax(1)
            wanted = self._soft(rows)
            value -= (wanted * log_probs).sum().item()
            found = log_probs.exp_().mul_(self._share[rows]).sub_(wanted)
            slope.add_(found.sum(0))
            return found

        gradient = torch.cat([self._design.pull(weight, error), slope[None]])
        total = add_up(torch.tensor(value, dtype=torch.float64)).item()
        add_up(gradient)[:-1].add_(weight, alpha=self.strength)
        return total + self.strength / 2 * (weight**2).sum().item(), gradient

    def _soft(self, rows: slice) -> Tensor:
        if rows != slice(None):
            return self._answers.select(rows).soft() * self._share[rows]
        if self._whole is None:
            self._whole = self._answers.soft() * self._share
        return self._whole
