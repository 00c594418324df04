"""A linear probe: what a fresh classifier starts from, so that its first steps do not spoil a pretrained encoder.

Kumar et al. 2022 (arXiv:2202.10054), "Fine-Tuning can Distort Pretrained Features": first the head, then everything.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPOCHS, BATCH, LR, WEIGHT_DECAY = 10, 256, 1e-3, 0.01
STEPS = 500  # at least, however few the rows
TINY = 1e-6


def fit_probe(layer: nn.Linear, features: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> None:
    """Fit a linear classifier to (N, D) features and (N,) int64 targets; random numbers are the caller's to seed.

    It is trained on standardised features, and the standardisation is folded into its weights.
    """
    spread, mean = torch.std_mean(features, 0, correction=0)
    spread = spread.clamp_min(TINY)
    inputs = (features - mean) / spread
    probe = nn.Linear(layer.in_features, layer.out_features)
    nn.init.zeros_(probe.weight)
    optimiser = torch.optim.AdamW(probe.parameters(), LR, weight_decay=WEIGHT_DECAY)
    each = -(-len(inputs) // BATCH)
    epochs = max(EPOCHS, -(-STEPS // each))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * each)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(BATCH):  # type: ignore[no-untyped-call]
            loss = F.cross_entropy(probe(inputs[rows]), targets[rows], label_smoothing=label_smoothing)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        layer.weight.copy_(probe.weight / spread)
        layer.bias.copy_(probe.bias - (probe.weight / spread) @ mean)
