"""Dropout that costs little beside small layers on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 256  # of a random byte


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014) that draws eight elements with one random number.

    PyTorch's own draws one at a time on a CPU, which takes as long as the layer before it. The probability is rounded
    to a multiple of 1/256.
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * LEVELS)
        if not self.training or x.device.type != "cpu" or dropped == LEVELS:
            return F.dropout(x, self.p, self.training)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        keep = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * (keep * (LEVELS / (LEVELS - dropped)))
