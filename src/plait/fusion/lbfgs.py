"""L-BFGS (Liu & Nocedal 1989) for smooth functions that are nearly round already.

It can stop at a coarse tolerance and go on to a finer one with all that it has learnt of the curvature, and its first
step is the whole gradient. PyTorch's own forgets, begins with a step it must enlarge many times where there are many
parameters, and imports a compiler.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Function = Callable[[Tensor], tuple[float, Tensor]]  # point -> value and gradient

ARMIJO, WOLFE = 1e-4, 0.9  # how much of the promised fall a step must give, and how much of the slope it may leave
MEMORY = 10  # steps that the curvature is learnt from
TRIES = 20  # evaluations of one line search, at most


class Descent:
    """A descent that goes on where it stopped.

    Args:
        function: smooth and bounded below; convex ones are brought to their minimum.
        start: where to begin, of any shape.
        steps: what is known of the curvature before: steps, and the changes of the gradient that they made.

    Attributes:
        point, value, gradient: where it is. evaluations: of the function, so far.
    """

    def __init__(self, function: Function, start: Tensor, steps: Iterable[tuple[Tensor, Tensor]] = ()):
        self._function = function
        self._steps: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=MEMORY)
        for step, change in steps:
            self._learn(step, change)
        self.point, self.evaluations = start.clone(), 0
        self.value, self.gradient = self._evaluate(self.point)

    @property
    def steps(self) -> list[tuple[Tensor, Tensor]]:
        """The last steps, and the changes of the gradient that they made."""
        return [(step, change) for step, change, _ in self._steps]

    def run(self, tolerance: float, limit: int) -> Descent:
        """Step until the value falls by less than `tolerance` twice running, or after `limit` evaluations of this run.

        Twice, for a single step may be short because the curvature is not known yet.
        """
        last, small = self.evaluations + limit, 0
        while self.evaluations < last and small < 2:
            direction = self._direction()
            slope = _dot(self.gradient, direction)
            if slope > -1e-16:
                break
            before = self.value
            if not self._search(direction, slope, last):
                break
            small = small + 1 if before - self.value < tolerance else 0
        return self

    def _learn(self, step: Tensor, change: Tensor) -> None:
        curvature = _dot(step, change)
        if curvature > 0:
            self._steps.append((step, change, curvature))

    def _evaluate(self, point: Tensor) -> tuple[float, Tensor]:
        self.evaluations += 1
        return self._function(point)

    def _direction(self) -> Tensor:
        """Minus the gradient times the inverse Hessian as far as it is known: the two loops over the memory."""
        found = self.gradient.neg()
        shares = []
        for step, change, curvature in reversed(self._steps):
            share = _dot(step, found) / curvature
            found.add_(change, alpha=-share)
            shares.append(share)
        if self._steps:
            step, change, curvature = self._steps[-1]
            found.mul_(curvature / _dot(change, change))
        for (step, change, curvature), share in zip(self._steps, reversed(shares), strict=True):
            found.add_(step, alpha=share - _dot(change, found) / curvature)
        return found

    def _search(self, direction: Tensor, slope: float, last: int) -> bool:
        """Move along a direction to where the value has fallen and the slope has flattened enough.

        Bisection between what is too short and too long, doubled while nothing was too long.
        """
        low, high, size = 0.0, float("inf"), 1.0
        best: tuple[float, float, Tensor] | None = None
        for _ in range(TRIES):
            value, gradient = self._evaluate(torch.add(self.point, direction, alpha=size))
            if not value <= self.value + ARMIJO * size * slope:
                high = size
            elif _dot(gradient, direction) < WOLFE * slope:
                low, best = size, (size, value, gradient)
            else:
                best = (size, value, gradient)
                break
            if self.evaluations >= last:
                break
            size = 2 * low if high == float("inf") else (low + high) / 2
        if best is None:
            return False
        size, value, gradient = best
        step, change = direction.mul_(size), gradient - self.gradient
        self.point += step
        self.value, self.gradient = value, gradient
        self._learn(step, change)
        return True


def differentiated(value: Callable[[Tensor], Tensor]) -> Function:
    """A function of a point and its gradient, from what gives the value alone."""

    def function(point: Tensor) -> tuple[float, Tensor]:
        with torch.enable_grad():
            point = point.detach().requires_grad_(True)
            found = value(point)
            (gradient,) = torch.autograd.grad(found, point)
        return found.item(), gradient

    return function


def _dot(one: Tensor, other: Tensor) -> float:
    return torch.dot(one.flatten(), other.flatten()).item()
