"""Calibration: temperature scaling (Guo et al. 2017), by entropy (Balanya et al. 2024), and a share of idle rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.newton import Derivatives, minimise

NOISE = 0.02  # share of rows that say nothing, to begin with
PULL = 10.0  # rows that a temperature of 1 counts for
LEVEL = 3.0  # rows that a slope of 0 counts for
MIDDLE = 0.25  # entropy, of the most, at which the temperature is as it is called
RANGE = (0.05, 20.0)


def fit_temperature(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """The temperature T > 0 that minimises cross-entropy of ``logits / T`` on rows not trained on; 1 for no rows.

    Few rows say little, so T is pulled towards 1 as by `PULL` rows whose loss is ``log(T)^2 / 2``.

    (N, K) float, (N,) int64, (N,) weights -> T in RANGE, by Newton's method on log T.
    """
    weights = torch.ones(len(targets)) if weights is None else weights
    if not weights.any():
        return 1.0
    share, rows = weights.double() / weights.double().sum(), _Rows.of(logits, targets)

    def loss(point: Tensor) -> Derivatives:
        said, slope, bend = rows.said((-point).exp().expand(len(targets)))
        pull = PULL / len(targets)
        value = pull / 2 * float(point**2) - float(share @ said)
        return value, pull * point + share @ slope, (pull - share @ bend).reshape(1, 1)

    return _in_range(minimise(loss, torch.zeros(1)).exp().item())


def _in_range(temperature: float) -> float:
    return min(max(temperature, RANGE[0]), RANGE[1])


@dataclass(frozen=True)
class _Rows:
    """How far the logits (N, K) of N rows are above that of the class that is right."""

    above: Tensor

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor) -> _Rows:
        return cls(logits - logits.gather(1, targets[:, None]))

    def said(self, sharpness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities (N,) of the right classes where logits are multiplied by (N,), with their first and second
        derivatives by the logarithm of that; all float64.
        """
        above, scale = self.above, sharpness.to(self.above.dtype)[:, None]
        sharp = above * scale
        total = sharp.logsumexp(1, keepdim=True)
        probs = sharp.sub_(total).exp_()
        mean = probs.mul_(above).sum(1).double()
        spread = probs.mul_(above).sum(1).double() - mean**2
        first = -sharpness * mean
        return -total[:, 0].double(), first, first - sharpness**2 * spread


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
    share, mine = weights.double() / weights.double().sum(), log_prior[targets].double()
    rows, unsure = _Rows.of(logits, targets), (unsureness(logits) - MIDDLE).double()
    begin = torch.tensor([0.0, 0.0, math.log(NOISE / (1 - NOISE))], dtype=torch.float64)
    pulls = torch.tensor([PULL, LEVEL, 1.0], dtype=torch.float64) / len(targets)
    by = torch.stack([-torch.ones_like(unsure), unsure])  # the log of the sharpness by temperature and slope

    def loss(point: Tensor) -> Derivatives:
        said, slope, bend = rows.said((point[1] * unsure - point[0]).exp())
        noise = point[2].sigmoid()
        mixed = with_noise(said, mine, noise)
        told = (said + torch.log1p(-noise) - mixed).exp()  # the chance that a row tells of its class
        either = told * (1 - told)
        away = point - begin
        value = (pulls / 2 * away**2).sum() - share @ mixed
        # Of the log-probabilities, by the log of the sharpness and by the logit of the noise.
        gradient = torch.cat([by @ (share * told * slope), (share @ (1 - told - noise))[None]])
        hessian = torch.zeros(3, 3, dtype=torch.float64)
        hessian[:2, :2] = (by * (share * (either * slope**2 + told * bend))) @ by.T
        hessian[:2, 2] = hessian[2, :2] = by @ (share * -either * slope)
        hessian[2, 2] = share @ (either - noise * (1 - noise))
        return value.item(), pulls * away - gradient, torch.diag(pulls) - hessian

    log_temperature, slope, noise = minimise(loss, begin).tolist()
    return Calibration(_in_range(math.exp(log_temperature)), slope, 1 / (1 + math.exp(-noise)))
