"""Newton's method on functions whose minima are known."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from plait.fusion.newton import Derivatives, minimise


def derivatives(function, point: Tensor) -> Derivatives:
    gradient = torch.func.grad(function)(point)
    return function(point).item(), gradient, torch.func.hessian(function)(point)


def test_a_bowl_takes_one_step() -> None:
    curvature, points = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64), []
    middle = torch.tensor([0.3, -0.4], dtype=torch.float64)

    def bowl(point: Tensor) -> Derivatives:
        points.append(point)
        away = point - middle
        return float(away @ curvature @ away) / 2, curvature @ away, curvature

    torch.testing.assert_close(minimise(bowl, torch.zeros(2)), middle)
    assert len(points) == 2


def test_a_bent_valley() -> None:
    """Rosenbrock's, from where it is usually begun."""
    found = minimise(
        lambda p: derivatives(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, p), torch.tensor([-1.2, 1.0])
    )
    torch.testing.assert_close(found, torch.ones(2, dtype=torch.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("start", [-0.01, 0.01, 3.0])
def test_a_ridge_is_left(start: float) -> None:
    """Between two minima, -1 and 1, the function curves downwards: a plain Newton step would climb to 0."""
    found = minimise(lambda p: derivatives(lambda x: x[0] ** 4 / 4 - x[0] ** 2 / 2, p), torch.tensor([start]))
    assert found.item() == pytest.approx(1.0 if start > 0 else -1.0, abs=1e-4)


def test_too_long_a_step_is_shortened() -> None:
    """Plain Newton on log cosh jumps ever further from 3."""
    values = []

    def steep(point: Tensor) -> Derivatives:
        found = derivatives(lambda x: torch.log(torch.cosh(5 * x[0])), point)
        values.append(found[0])
        return found

    assert minimise(steep, torch.tensor([3.0])).item() == pytest.approx(0.0, abs=1e-4)
    assert len(values) < 20


def test_steps_are_bounded() -> None:
    taken = []

    def hill(point: Tensor) -> Derivatives:
        taken.append(point)
        return derivatives(lambda x: -x[0], point)

    minimise(hill, torch.zeros(1), limit=7)
    assert len(taken) == 8
    assert max(float((b - a).abs()) for a, b in pairwise(taken)) <= 2.0


def test_a_fall_lost_in_rounding_stops_no_step() -> None:
    """A value near 1.6 in 32 bits says nothing of a fall of 1e-7; the gradient knows better."""
    values = []

    def rounded(point: Tensor) -> Derivatives:
        away = point + 0.02
        values.append(1.6 + 0.75 * float(away**2) + 0.5 * float(away**3) + (1.2e-7 if len(values) == 2 else 0))
        return values[-1], 1.5 * away + 1.5 * away**2, (1.5 + 3 * away).reshape(1, 1)

    assert minimise(rounded, torch.zeros(1)).item() == pytest.approx(-0.02, abs=1e-6)
    assert values[2] > values[1]
    assert len(values) == 3
