from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.calibration import PULL, RANGE, fit_temperature


def answers(scale: float, rows: int = 500, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits `scale` times too large for targets drawn from them."""
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, 5, generator=g)
    return scale * logits, torch.multinomial(logits.softmax(1), 1, generator=g)[:, 0]


def reference(logits: Tensor, targets: Tensor, weights: Tensor | None = None, pull: float = PULL) -> float:
    share = (torch.ones(len(targets)) if weights is None else weights).double()
    share = share / share.sum()

    def loss(log: float) -> float:
        losses = F.cross_entropy(logits.double() / np.exp(log), targets, reduction="none")
        return float((share * losses).sum()) + pull / (2 * len(targets)) * log**2

    bounds = tuple(np.log(RANGE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))


@pytest.mark.parametrize("rows", [3, 40, 500])
@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_temperature_is_the_minimum(scale: float, rows: int) -> None:
    logits, targets = answers(scale, rows)
    assert fit_temperature(logits, targets) == pytest.approx(reference(logits, targets), rel=1e-3)


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_many_rows_find_the_scale(scale: float) -> None:
    logits, targets = answers(scale, 5000)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(reference(logits, targets, pull=0.0), rel=0.01)
    assert found == pytest.approx(scale, rel=0.1)


def test_rows_count_by_their_weights() -> None:
    logits, targets = answers(3.0)
    weights = torch.rand(500, generator=torch.Generator().manual_seed(1)) ** 4
    found = fit_temperature(logits, targets, weights)
    assert found == pytest.approx(reference(logits, targets, weights), rel=1e-3)
    assert found == pytest.approx(fit_temperature(logits, targets, 9 * weights), rel=1e-6)
    assert found != pytest.approx(fit_temperature(logits, targets), rel=1e-3)


@pytest.mark.parametrize(("scale", "bound"), [(0.01, 0), (-1.0, 1)])
def test_temperature_stays_in_its_range(scale: float, bound: int) -> None:
    targets = torch.arange(3).repeat(10_000)
    logits = scale * torch.eye(3).repeat(10_000, 1)
    assert fit_temperature(logits, targets) == pytest.approx(RANGE[bound], rel=1e-4)


@pytest.mark.parametrize("rows", [1, 5, 20, 100])
def test_few_rows_that_are_all_right_do_not_make_sure(rows: int) -> None:
    """Without a pull they would, as far as double precision tells a difference."""
    targets = torch.arange(rows) % 4
    logits = 4 * F.one_hot(targets, 4).float()
    found = fit_temperature(logits, targets)
    assert 0.25 < found < 1
    assert reference(logits, targets, pull=0.0) < 0.1


def test_no_rows_leave_logits_alone() -> None:
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == 1.0
