"""Temperature scaling (Guo et al. 2017): one number that makes confidences match frequencies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

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
    low, high = (torch.tensor(value).log().item() for value in RANGE)
    ratio = (5**0.5 - 1) / 2
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        losses = F.cross_entropy(logits / torch.tensor(log_temperature).exp(), targets, reduction="none")
        return (share * losses).sum().item() + PULL / (2 * len(targets)) * log_temperature**2

    for _ in range(32):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(torch.tensor((low + high) / 2).exp())
