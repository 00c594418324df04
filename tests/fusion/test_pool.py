"""Opinion pools, against arithmetic by hand and scipy's minimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.pool import PULL, fit_exponents, log_pool, mean_pool

# Three experts of two rows and two classes, in thirds, quarters and tenths.
SAID = torch.tensor([[[1 / 3, 2 / 3], [0.5, 0.5]], [[0.25, 0.75], [0.1, 0.9]], [[0.5, 0.5], [0.8, 0.2]]]).log()
PRIORS = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.8, 0.2]]).log()
LOG_PRIOR = torch.tensor([0.6, 0.4]).log()


def test_mean_pool() -> None:
    expected = [[(1 / 3 + 1 / 4 + 1 / 2) / 3, (2 / 3 + 3 / 4 + 1 / 2) / 3], [(0.5 + 0.1 + 0.8) / 3, (0.5 + 1.1) / 3]]
    torch.testing.assert_close(mean_pool(SAID).exp(), torch.tensor(expected))


def test_mean_pool_of_the_certain_is_finite() -> None:
    assert mean_pool(torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]).log()).isfinite().all()


def test_log_pool_by_hand() -> None:
    """Row 0: 0.6 (1/3 / 1/2) (1/4 / 1/4)^2 : 0.4 (2/3 / 1/2) (3/4 / 3/4)^2, the third expert without a say."""
    found = log_pool(SAID, PRIORS, torch.tensor([1.0, 2.0, 0.0]), LOG_PRIOR).exp()
    torch.testing.assert_close(found[0], torch.tensor([0.4, 0.4 * 4 / 3]))
    torch.testing.assert_close(found[1], torch.tensor([0.6 * (0.1 / 0.25) ** 2, 0.4 * (0.9 / 0.75) ** 2]))


def test_nobody_says_anything() -> None:
    """Experts that answer with their priors leave the prior, whatever their exponents."""
    found = log_pool(PRIORS[:, None].expand(3, 4, 2), PRIORS, torch.tensor([0.3, 2.0, 1.0]), LOG_PRIOR)
    torch.testing.assert_close(found, LOG_PRIOR.expand(4, 2))


def test_log_pool_is_bayes_rule_for_independent_experts() -> None:
    rng = np.random.default_rng(0)
    prior = rng.dirichlet(np.ones(4))
    likely = rng.dirichlet(np.ones(5), size=(3, 4))  # p(value | class) of three experts
    values = (1, 2, 4)
    alone = np.stack([prior * likely[e, :, v] for e, v in enumerate(values)])
    said = torch.tensor(alone / alone.sum(1, keepdims=True)).log()[:, None]
    log_prior = torch.tensor(prior).log()
    found = log_pool(said, log_prior.expand(3, 4), torch.ones(3), log_prior).softmax(1)
    joint = prior * np.prod([likely[e, :, v] for e, v in enumerate(values)], axis=0)
    np.testing.assert_allclose(found[0].numpy(), joint / joint.sum(), rtol=1e-6)


def experts(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Three experts of a different worth, the second and third alike, and targets."""
    g = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (rows,), generator=g)
    noise = torch.randn(3, rows, 4, generator=g)
    noise[2] = noise[1] + 0.1 * noise[2]
    lean = torch.tensor([1.0, 2.0, 2.0])[:, None, None]
    weights = torch.rand(rows, generator=g) + 0.1
    return F.log_softmax(lean * F.one_hot(targets, 4) + noise, 2), targets, weights


def best(said: Tensor, priors: Tensor, targets: Tensor, weights: Tensor, start: Tensor) -> np.ndarray:
    """Exponents by scipy, on the formula in double precision."""
    evidence = (said - priors[:, None]).double().numpy()
    share, begin = (weights / weights.sum()).double().numpy(), start.log().double().numpy()

    def loss(logs: np.ndarray) -> float:
        logits = np.log(0.25) + (np.exp(logs)[:, None, None] * evidence).sum(0)
        logits = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        entropy = -(share * logits[np.arange(len(targets)), targets.numpy()]).sum()
        return float(entropy + PULL / (2 * len(targets)) * ((logs - begin) ** 2).sum())

    return np.exp(minimize(loss, begin, options={"gtol": 1e-8}).x)


@pytest.mark.parametrize("rows", [5, 60, 800])
def test_exponents_are_the_minimum(rows: int) -> None:
    said, targets, weights = experts(rows)
    priors = F.log_softmax(torch.randn(3, 4, generator=torch.Generator().manual_seed(3)) / 4, 1)
    start = torch.tensor([0.5, 0.4, 0.6])
    found = fit_exponents(said, priors, torch.full((4,), 0.25).log(), (targets, weights), start)
    np.testing.assert_allclose(found.numpy(), best(said, priors, targets, weights, start), rtol=5e-3)


def test_few_rows_leave_the_exponents_near_their_start() -> None:
    start, uniform = torch.ones(3) / 3, torch.full((4,), 0.25).log()
    far = []
    for rows in (1, 4, 1000):
        said, targets, weights = experts(rows)
        found = fit_exponents(said, uniform.expand(3, 4), uniform, (targets, weights), start)
        assert (found > 0).all()
        far.append(float((found / start).log().norm()))
    assert far == sorted(far)
    assert far[0] < 0.4 < far[-1]


def test_no_rows_leave_the_exponents() -> None:
    start = torch.tensor([0.2, 0.8])
    nothing = torch.zeros(2, 0, 3), torch.zeros(2, 3), torch.zeros(3), (torch.zeros(0, dtype=torch.int64), start[:0])
    assert torch.equal(fit_exponents(*nothing, start), start)
