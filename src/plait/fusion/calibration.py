"""Calibration: temperature scaling (Guo et al. 2017), by entropy (Balanya et al. 2024), and a share of idle rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.lbfgs import Descent, differentiated

NOISE = 0.02  # share of rows that say nothing, to begin with
PULL = 10.0  # rows that a temperature of 1 counts for
LEVEL = 3.0  # rows that a slope of 0 counts for
MIDDLE = 0.25  # entropy, of the most, at which the temperature is as it is called
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
    """``p = (1 - noise) softmax(logits / T) + noise prior``, where ``T = temperature exp(-slope (H - MIDDLE))``.

    H is the entropy of ``softmax(logits)`` as a share of the most there can be. Temperature scaling by entropy
    (Balanya, Maronas & Ramos 2024, "Adaptive temperature scaling for robust calibration of deep neural networks") sees
    that a head can be too sure where it is sure and not sure enough elsewhere, as after few rows of many classes.

    The second term is for rows whose image or text has nothing to do with their class, as 5 % of the images of UPMC
    Food-101: however sure a head is, it may be looking at one of them. Without it a few such rows make the temperature
    flatten the answers to all others.
    """

    temperature: float = 1.0
    slope: float = 0.0
    noise: float = 0.0

    def __call__(self, logits: Tensor, log_prior: Tensor) -> Tensor:
        """(..., K) logits and (K,) log class shares -> log-probabilities."""
        temperature, slope, noise = (torch.tensor(value) for value in (self.temperature, self.slope, self.noise))
        return with_noise(scaled(logits, temperature, slope), log_prior, noise)


def unsureness(logits: Tensor) -> Tensor:
    """Entropy of ``softmax(logits)`` as a share of the most there can be: (..., K) -> (...,) in [0, 1]."""
    log_probs = F.log_softmax(logits, dim=-1)
    return -(log_probs.exp() * log_probs).sum(-1) / max(math.log(logits.shape[-1]), 1e-9)


def scaled(logits: Tensor, temperature: Tensor, slope: Tensor) -> Tensor:
    """Log-probabilities at the temperature that their entropy asks for: (..., K), and two that broadcast to (...,)."""
    sharpness = (slope * (unsureness(logits) - MIDDLE)).exp() / temperature
    return F.log_softmax(logits * sharpness[..., None], dim=-1)


def with_noise(log_probs: Tensor, log_prior: Tensor, noise: Tensor) -> Tensor:
    """``log((1 - noise) p + noise prior)``: log-probabilities and prior that broadcast, noise in [0, 1)."""
    return torch.logaddexp(log_probs + torch.log1p(-noise), log_prior + noise.log())


def fit_calibration(logits: Tensor, targets: Tensor, log_prior: Tensor, weights: Tensor | None = None) -> Calibration:
    """The calibration that minimises cross-entropy on rows not trained on; none for no rows.

    The temperature is pulled towards 1 as by `PULL` rows, its slope towards 0 as by `LEVEL`, the noise towards `NOISE`
    as by one.

    Args:
        logits: (N, K). targets: (N,) int64. log_prior: (K,). weights: (N,); None: equal.
    """
    weights = torch.ones(len(targets)) if weights is None else weights
    if not weights.any():
        return Calibration()
    share = weights / weights.sum()
    right, mine = logits.gather(1, targets[:, None])[:, 0], log_prior[targets]
    begin, unsure = torch.tensor(NOISE).logit(), unsureness(logits) - MIDDLE

    def loss(point: Tensor) -> Tensor:
        sharpness = (point[1] * unsure - point[0]).exp()
        said = sharpness * right - torch.logsumexp(sharpness[:, None] * logits, 1)
        pull = PULL * point[0] ** 2 + LEVEL * point[1] ** 2 + (point[2] - begin) ** 2
        return pull / (2 * len(targets)) - (share * with_noise(said, mine, point[2].sigmoid())).sum()

    start = torch.stack([torch.zeros(()), torch.zeros(()), begin])
    log_temperature, slope, noise = Descent(differentiated(loss), start).run(1e-9, 75).point
    low, high = RANGE
    return Calibration(min(max(float(log_temperature.exp()), low), high), float(slope), float(noise.sigmoid()))
