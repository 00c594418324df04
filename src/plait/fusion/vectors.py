"""What the objectives share."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-8  # a vector shorter than this counts as zero


def unit(vectors: Tensor) -> Tensor:
    """(..., D) vectors of length 1, float32; a zero vector stays zero, and sends no gradient."""
    vectors = vectors.float()
    length = vectors.norm(dim=-1, keepdim=True)
    return torch.where(length > TINY, vectors / length.clamp_min(TINY), 0.0)
