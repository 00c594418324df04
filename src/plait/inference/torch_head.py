"""Between the engine's arrays and the heads' tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from plait.features.encode import Features
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.model import Model
from plait.fusion.spec import HeadSpec
from plait.matrix import DiskMatrix, Matrix


def to_inputs(found: Mapping[str, Features]) -> HeadInputs:
    """Features of each modality as tensors."""
    return HeadInputs(
        {modality: _tensor(features.vectors) for modality, features in found.items()},
        {modality: torch.from_numpy(features.present) for modality, features in found.items()},
    )


def _tensor(vectors: np.ndarray | DiskMatrix) -> Matrix:
    return vectors if isinstance(vectors, DiskMatrix) else torch.from_numpy(vectors)


class TorchHead:
    """A model of PyTorch, as an engine's `Head`; `spec` is how it is built again."""

    def __init__(self, model: Model, spec: HeadSpec):
        self.model, self.spec = model.eval(), spec

    def __call__(self, features: Mapping[str, Features]) -> np.ndarray:
        out: np.ndarray = logits(self.model, to_inputs(features)).float().numpy()
        return out
