"""Calibration: temperature scaling (Guo et al. 2017), and a share of rows that say nothing of their class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.lbfgs import Descent, differentiated

NOISE = 0.02  # share of rows that say nothing, to begin with
PULL = 10.0  # rows that a temperature of 1 counts for
RANGE = (0.05, 20.0)


def fit_temperature(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """The temperature T > 0 that minimises cross-entropy of ``logits / T`` on rows not trained on; 1 for no rows.

    Few rows say little, so T is pulled towards 1 as by `PULL` rows whose loss is ``log(T)^2 / 2``.

    (N, K) float, (N,) int64, (N,) weights -> T in RANGE. Golden-section search on log T.
    """
    share = torch.ones(len(targets)) if weights is None else weights
    if not share.any():
        return 1.0
    share = share.double() / share.sum()
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        losses = F.cross_entropy(logits * math.exp(-log_temperature), targets, reduction="none")
        return (share * losses).sum().item() + PULL / (2 * len(targets)) * log_temperature**2

    low, high = (math.log(value) for value in RANGE)
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    losses = loss(left), loss(right)
    for _ in range(32):
        if losses[0] < losses[1]:
            high, right = right, left
            left = high - ratio * (high - low)
            losses = loss(left), losses[0]
        else:
            low, left = left, right
            right = low + ratio * (high - low)
            losses = losses[1], loss(right)
    return math.exp((low + high) / 2)


@dataclass(frozen=True)
class Calibration:
    """``p = (1 - noise) softmax(logits / temperature) + noise prior``.

    The second term is for rows whose image or text has nothing to do with their class, as 5 % of the images of UPMC
    Food-101: however sure a head is, it may be looking at one of them. Without it a few such rows make the temperature
    flatten the answers to all others.
    """

    temperature: float = 1.0
    noise: float = 0.0

    def __call__(self, logits: Tensor, log_prior: Tensor) -> Tensor:
        """(..., K) logits and (K,) log class shares -> log-probabilities."""
        noise = torch.tensor(self.noise)
        return with_noise(F.log_softmax(logits / self.temperature, dim=-1), log_prior, noise)


def with_noise(log_probs: Tensor, log_prior: Tensor, noise: Tensor) -> Tensor:
    """``log((1 - noise) p + noise prior)``: log-probabilities and prior that broadcast, noise in [0, 1)."""
    return torch.logaddexp(log_probs + torch.log1p(-noise), log_prior + noise.log())


def fit_calibration(logits: Tensor, targets: Tensor, log_prior: Tensor, weights: Tensor | None = None) -> Calibration:
    """The calibration that minimises cross-entropy on rows not trained on; none for no rows.

    The temperature is pulled towards 1 as by `PULL` rows, the noise towards `NOISE` as by one.

    Args:
        logits: (N, K). targets: (N,) int64. log_prior: (K,). weights: (N,); None: equal.
    """
    weights = torch.ones(len(targets)) if weights is None else weights
    if not weights.any():
        return Calibration()
    share = weights / weights.sum()
    right, mine = logits.gather(1, targets[:, None])[:, 0], log_prior[targets]
    begin = torch.tensor(NOISE).logit()

    def loss(point: Tensor) -> Tensor:
        sharpness = (-point[0]).exp()
        said = sharpness * right - torch.logsumexp(sharpness * logits, 1)
        pull = PULL * point[0] ** 2 + (point[1] - begin) ** 2
        return pull / (2 * len(targets)) - (share * with_noise(said, mine, point[1].sigmoid())).sum()

    start = torch.stack([torch.zeros(()), begin])
    log_temperature, noise = Descent(differentiated(loss), start).run(1e-9, 75).point
    low, high = RANGE
    return Calibration(min(max(float(log_temperature.exp()), low), high), float(noise.sigmoid()))
