"""Features of many rows, and running a head over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plait.matrix import DiskMatrix, Matrix

EVAL_BATCH = 8192


@dataclass(frozen=True)
class HeadInputs:
    """Features of N rows: ``features[s]`` (N, D_s) float32, ``present[s]`` (N,) bool, for the modalities in use.

    Features may be on disk; `rows` reads those asked for.
    """

    features: Mapping[str, Matrix]
    present: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    @property
    def on_disk(self) -> bool:
        return any(isinstance(x, DiskMatrix) for x in self.features.values())

    def rows(self, rows: Tensor | Sequence[int] | slice) -> InMemory:
        """The given rows of every tensor."""
        return InMemory({s: x[rows] for s, x in self.features.items()}, {s: x[rows] for s, x in self.present.items()})


@dataclass(frozen=True)
class InMemory(HeadInputs):
    """Those that are not on disk."""

    features: Mapping[str, Tensor]


def logits(head: nn.Module, inputs: HeadInputs, device: torch.device | str = "cpu") -> Tensor:
    """(N, K) logits of a trained head that is on a device, in batches; they are on the CPU."""
    head.eval()
    with torch.inference_mode():
        blocks = [inputs.rows(slice(i, i + EVAL_BATCH)) for i in range(0, len(inputs), EVAL_BATCH)]
        found = [head(on(block.features, device), on(block.present, device)).cpu() for block in blocks]
        return torch.cat(found).clone()


def on(tensors: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """Tensors by modality, on a device."""
    return {modality: tensor.to(device) for modality, tensor in tensors.items()}
