"""L-BFGS against known minima, and scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from plait.fusion.lbfgs import Descent, differentiated


def rosenbrock(point: Tensor) -> Tensor:
    x, y = point[:-1], point[1:]
    return (100 * (y - x**2) ** 2 + (1 - x) ** 2).sum()


def bowl(dim: int = 200) -> tuple[Tensor, Tensor]:
    """Curvatures over two orders of magnitude, and where the minimum is."""
    g = torch.Generator().manual_seed(0)
    return torch.logspace(0, 2, dim, dtype=torch.float64), torch.randn(dim, generator=g, dtype=torch.float64)


def test_a_curved_valley() -> None:
    start = torch.tensor([-1.2, 1.0, -0.5, 0.8], dtype=torch.float64)
    found = Descent(differentiated(rosenbrock), start).run(1e-14, 500)
    torch.testing.assert_close(found.point, torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)
    assert found.value == pytest.approx(0, abs=1e-10)
    assert start.tolist() == [-1.2, 1.0, -0.5, 0.8]  # left as it was


def test_no_worse_than_scipy() -> None:
    curvature, middle = bowl()
    function = differentiated(lambda point: (curvature * (point - middle) ** 2).sum())

    def array(point: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = function(torch.from_numpy(point))
        return value, gradient.numpy()

    peer = minimize(array, np.zeros(200), jac=True, method="L-BFGS-B", options={"maxfun": 300, "ftol": 0, "gtol": 0})
    found = Descent(function, torch.zeros(200, dtype=torch.float64)).run(0.0, 300)
    assert found.value < max(peer.fun * 10, 1e-9)


def test_it_goes_on_where_it_stopped() -> None:
    """In two stretches it takes the way it takes in one: what it knows of the curvature is kept."""
    curvature, middle = bowl()
    function = differentiated(lambda point: (curvature * (point - middle) ** 2).sum())
    whole, parts = (Descent(function, torch.zeros(200, dtype=torch.float64)) for _ in range(2))
    parts.run(1.0, 300)
    first, coarse = parts.evaluations, parts.value
    parts.run(1e-6, 300)
    whole.run(1e-6, 300)
    assert first < parts.evaluations
    assert parts.value < coarse
    assert (parts.evaluations, parts.value) == (whole.evaluations, whole.value)


def test_the_limit_is_of_each_run() -> None:
    found = Descent(differentiated(rosenbrock), torch.tensor([-1.2, 1.0])).run(0.0, 10)
    assert found.evaluations == 11  # the start is evaluated, too
    assert found.run(0.0, 5).evaluations == 16


def test_a_minimum_is_left_alone() -> None:
    found = Descent(differentiated(lambda point: (point**2).sum()), torch.zeros(3)).run(1e-6, 50)
    assert found.point.tolist() == [0, 0, 0]
    assert found.evaluations == 1


def test_the_gradient_of_a_value() -> None:
    value, gradient = differentiated(lambda point: (point**3).sum())(torch.tensor([1.0, -2.0]))
    assert value == -7
    assert gradient.tolist() == [3, 12]
