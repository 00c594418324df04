"""Newton's method for smooth functions of a few parameters whose second derivatives are known.

Where the function curves downwards a step goes by the size of the curvature, as in saddle-free Newton (Dauphin et al.
2014), so it leaves what is not a minimum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Derivatives = tuple[float, Tensor, Tensor]  # value, gradient (P,), Hessian (P, P)

ARMIJO = 1e-4  # how much of the promised fall a step must give
FARTHEST = 2.0  # length of a step
TRIES = 20  # halvings of one step, at most
ROUNDING = 1e-7  # of a value, by which one of numbers in 32 bits may be off


def minimise(
    function: Callable[[Tensor], Derivatives], start: Tensor, tolerance: float = 1e-10, limit: int = 50
) -> Tensor:
    """(P,) float64 where the next step would make the value fall by less than `tolerance`; `limit` steps at most."""
    point = start.double()
    value, gradient, hessian = function(point)
    for _ in range(limit):
        step = _step(gradient, hessian)
        fall = -float(gradient @ step)
        if fall < tolerance:
            break
        for _ in range(TRIES):
            found = function(point + step)
            if found[0] <= value - ARMIJO * fall + ROUNDING * abs(value):
                break
            step, fall = step / 2, fall / 2
        else:
            break
        point = point + step
        value, gradient, hessian = found
    return point


def _step(gradient: Tensor, hessian: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(hessian)
    sizes = values.abs().clamp_min(1e-12)
    step: Tensor = -(vectors @ (vectors.T @ gradient / sizes))
    return step.mul_(min(1.0, FARTHEST / max(float(step.norm()), 1e-12)))
