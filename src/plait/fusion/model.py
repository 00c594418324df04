"""A whole model: what it answers for rows with both modalities, with one, and with neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from plait.fusion.calibration import scaled, with_noise
from plait.fusion.late import LateFusion, Opinions
from plait.fusion.modality import MODALITIES, ModalityHead, Shape


class Model(nn.Module):
    """Calibrated log-probabilities (B, K) by the pattern of the modalities that a row has.

    Both: the fusion, with a calibration of its own. One: that modality's own calibrated head, whatever the fusion.
    None: the class prior. A model of one modality has its head and no fusion.

    ``forward(features, present)``: features[s] (B, D_s) float with the columns of ``shape.parts[s]``, present[s] (B,)
    bool.

    Args:
        heads: of the modalities that it reads. fusion: late, or an early head, which reads dense columns; None for one.
    """

    log_prior: Tensor
    temperature: Tensor
    slope: Tensor
    noise: Tensor

    def __init__(self, heads: Mapping[str, ModalityHead], fusion: nn.Module | None, shape: Shape):
        super().__init__()
        self.heads = nn.ModuleDict(dict(heads))
        self.fusion = fusion
        self.register_buffer("log_prior", torch.zeros(shape.classes))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("slope", torch.zeros(()))
        self.register_buffer("noise", torch.zeros(()))
        self.columns = {s: shape.dense(s) for s in self.heads if any(part.scores for part in shape.parts[s])}

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        heads: dict[str, Any] = dict(self.heads.items())
        experts = {s: head.opinions(features) for s, head in heads.items()}
        pooled = {s: head.pool(experts[s]) for s, head in heads.items()}
        answers = self.log_prior.expand(next(iter(pooled.values())).shape[0], -1)
        for modality, alone in pooled.items():
            answers = torch.where(present[modality][:, None], alone, answers)
        if self.fusion is None:
            return answers
        both = torch.stack([present[s] for s in MODALITIES]).all(0)
        fused = scaled(self.fuse(features, present, Opinions(pooled, experts)), self.temperature, self.slope)
        fused = with_noise(fused, self.log_prior, self.noise)
        return torch.where(both[:, None], fused, answers)

    def fuse(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], opinions: Opinions) -> Tensor:
        """(B, K) logits of the fusion, before its temperature."""
        assert self.fusion is not None
        if isinstance(self.fusion, LateFusion):
            found: Tensor = self.fusion(opinions)
        else:
            dense = {s: x[:, self.columns[s]] if s in self.columns else x for s, x in features.items()}
            found = self.fusion(dense, present)
        return found
