from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.calibration import (
    LEVEL,
    MIDDLE,
    NOISE,
    PULL,
    RANGE,
    Calibration,
    fit_calibration,
    fit_temperature,
    scaled,
    unsureness,
    with_noise,
)
from plait.report.metrics import calibration_error


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


def test_noise_moves_the_answer_to_the_prior() -> None:
    log_prior = torch.tensor([0.5, 0.3, 0.2]).log()
    given = torch.tensor([[0.9, 0.06, 0.04]]).log()
    expected = torch.tensor([[0.75 * 0.9 + 0.125, 0.75 * 0.06 + 0.075, 0.75 * 0.04 + 0.05]])
    torch.testing.assert_close(with_noise(given, log_prior, torch.tensor(0.25)).exp(), expected)
    assert torch.equal(with_noise(given, log_prior, torch.tensor(0.0)), given)
    torch.testing.assert_close(Calibration(2.0, noise=0.25)(2 * given, log_prior).exp(), expected)


def test_calibration_is_the_minimum() -> None:
    from scipy.optimize import minimize

    logits, targets = answers(3.0, 300)
    log_prior = torch.log_softmax(torch.arange(5.0) / 5, 0)
    weights = torch.rand(300, generator=torch.Generator().manual_seed(1))
    begin = np.log(NOISE / (1 - NOISE))

    plain = logits.double().softmax(1)
    entropy = -(plain * plain.log()).sum(1) / np.log(5)

    def loss(point: np.ndarray) -> float:
        noise = 1 / (1 + np.exp(-point[2]))
        temperature = (point[0] - point[1] * (entropy - MIDDLE)).exp()
        probs = (1 - noise) * (logits.double() / temperature[:, None]).softmax(1) + noise * log_prior.double().exp()
        picked = -probs[torch.arange(300), targets].log()
        pull = (PULL * point[0] ** 2 + LEVEL * point[1] ** 2 + (point[2] - begin) ** 2) / 600
        return float((weights.double() * picked).sum() / weights.double().sum()) + pull

    best = minimize(loss, [0.0, 0.0, begin], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}).x
    found = fit_calibration(logits, targets, log_prior, weights)
    assert found.temperature == pytest.approx(np.exp(best[0]), rel=1e-4)
    assert found.slope == pytest.approx(best[1], abs=2e-4)
    assert found.noise == pytest.approx(1 / (1 + np.exp(-best[2])), rel=1e-3)


def test_the_temperature_goes_by_entropy() -> None:
    """By hand, for a row of two even classes among four, whose entropy is half of the most there can be."""
    given = torch.tensor([[0.0, 0.0, -60.0, -60.0], [3.0, 0.0, 0.0, 0.0]])
    assert unsureness(given)[0] == pytest.approx(0.5)
    temperature = 2.0 * np.exp(-0.8 * (unsureness(given).numpy() - MIDDLE))
    expected = (given / torch.from_numpy(temperature)[:, None].float()).log_softmax(1)
    found = scaled(given, torch.tensor(2.0), torch.tensor(0.8))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(scaled(given, torch.tensor(2.0), torch.tensor(0.0)), (given / 2).log_softmax(1))


def test_a_slope_is_found_where_sure_rows_are_too_sure_and_others_not_enough() -> None:
    """Labels drawn from answers that were flattened where they were sure, and sharpened elsewhere."""
    g = torch.Generator().manual_seed(0)
    logits = 2.5 * torch.randn(8000, 6, generator=g)
    truth = scaled(logits, torch.tensor(1.3), torch.tensor(0.9))
    targets = torch.multinomial(truth.exp(), 1, generator=g)[:, 0]
    flat = torch.full((6,), 1 / 6).log()
    found = fit_calibration(logits, targets, flat)
    assert found.temperature == pytest.approx(1.3, rel=0.08)
    assert found.slope == pytest.approx(0.9, abs=0.2)
    assert calibration_error(found(logits, flat).exp().numpy(), targets.numpy()) < 0.015
    plain = (logits / fit_temperature(logits, targets)).softmax(1)
    assert calibration_error(plain.numpy(), targets.numpy()) > 0.02


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_rows_that_say_nothing_are_found(share: float) -> None:
    """A temperature alone flattens the answers to all other rows."""
    logits, targets = answers(1.0, 6000)
    g = torch.Generator().manual_seed(3)
    targets = torch.where(torch.rand(6000, generator=g) < share, torch.randint(0, 5, (6000,), generator=g), targets)
    flat = torch.full((5,), 0.2).log()
    found = fit_calibration(logits, targets, flat)
    assert found.noise == pytest.approx(share, abs=0.03)
    assert found.temperature == pytest.approx(1, abs=0.08)
    assert found.slope == pytest.approx(0, abs=0.3)
    plain = F.cross_entropy(logits / fit_temperature(logits, targets), targets)
    assert F.nll_loss(found(logits, flat), targets) < plain


def test_no_rows_leave_answers_alone_and_few_pull_little() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert fit_calibration(torch.zeros(0, 3), none, torch.zeros(3)) == Calibration()
    assert fit_calibration(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64), torch.zeros(3), torch.zeros(4)) == (
        Calibration()
    )
    found = fit_calibration(8 * torch.eye(3), torch.arange(3), torch.full((3,), 1 / 3).log())
    assert 0.5 < found.temperature < 2  # always right, and still at no bound
    assert 0 < found.noise < 0.05
