"""Between the engine's arrays and the heads' tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from plait.encoding import Features
from plait.fusion.batch import Strands, logits
from plait.fusion.pattern import Model


def to_strands(found: Mapping[str, Features]) -> Strands:
    """Features of each strand as tensors."""
    return Strands(
        {strand: torch.from_numpy(features.vectors) for strand, features in found.items()},
        {strand: torch.from_numpy(features.present) for strand, features in found.items()},
    )


class TorchHead:
    """A model of PyTorch, as an engine's `Head`."""

    def __init__(self, head: Model):
        self.head = head.eval()

    def __call__(self, features: Mapping[str, Features]) -> np.ndarray:
        out: np.ndarray = logits(self.head, to_strands(features)).float().numpy()
        return out
