"""Temperature scaling (Guo et al. 2017): one number that makes confidences match frequencies."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RANGE = (0.05, 20.0)


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T > 0 that minimises cross-entropy of ``logits / T`` on rows not trained on; 1 for no rows.

    (N, K) float, (N,) int64 -> T in RANGE. Golden-section search on log T: the loss has one minimum in 1/T.
    """
    if len(targets) == 0:
        return 1.0
    low, high = (torch.tensor(value).log().item() for value in RANGE)
    ratio = (5**0.5 - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(logits, targets, left) < _loss(logits, targets, right):
            high = right
        else:
            low = left
    return float(torch.tensor((low + high) / 2).exp())


def _loss(logits: Tensor, targets: Tensor, log_temperature: float) -> float:
    return F.cross_entropy(logits.double() / torch.tensor(log_temperature).exp(), targets).item()


class Calibrated(nn.Module):
    """A head whose logits are divided by a fitted temperature; ``forward(features, present)`` -> (B, K) logits."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head
        self.register_buffer("temperature", torch.ones(()))

    def fit(self, logits: Tensor, targets: Tensor) -> None:
        """Fit the temperature to the head's own logits on validation rows."""
        self.temperature = torch.tensor(fit_temperature(logits, targets))

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        return self.head(features, present) / self.temperature  # type: ignore[no-any-return]
