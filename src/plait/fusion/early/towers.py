"""Early fusion by towers of dense layers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from plait.config import HeadConfig
from plait.fusion.early.base import EarlyHead
from plait.fusion.modality import MODALITIES, Shape


class Head(EarlyHead):
    """Linear and ReLU layers for each modality, concatenated before one softmax layer.

    With widths (128,) for the 1280 numbers of an EfficientNetV2-S and (512, 256, 128) for the 1024 of a text encoder
    it is the network of the study, and with one width each the stacked early fusion of Gallo et al. 2020, "Image and
    Text fusion for UPMC Food-101 using BERT and CNNs". Features are taken as they are, not standardised.

    ``forward(features, present)``: features[s] (B, D_s) float, present[s] (B,) bool -> (B, K) logits. A missing
    modality adds zeros to the concatenation; where both are missing the answer is the class prior.

    Widths come from ``shape.towers[s]``; raises KeyError where a modality has none.
    """

    note = "towers"

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.towers = nn.ModuleDict({s: _tower(shape.dims[s], shape.towers[s]) for s in MODALITIES})
        self.output = nn.Linear(sum(shape.towers[s][-1] for s in MODALITIES), shape.classes)

    @classmethod
    def sizes(cls, config: HeadConfig) -> dict[str, Any]:
        return {"towers": {"image": config.towers.image, "text": config.towers.text}}

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        parts = [torch.where(present[s][:, None], self.towers[s](features[s]), 0.0) for s in MODALITIES]
        logits = self.output(torch.cat(parts, dim=1))
        nothing = ~torch.stack([present[s] for s in MODALITIES]).any(0)
        return torch.where(nothing[:, None], self.log_prior, logits)


def _tower(dim: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise((dim, *widths)):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers)
