"""Early fusion by an MLP on projected features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.fusion.dropout import Dropout
from plait.fusion.early.base import EarlyHead
from plait.fusion.modality import MODALITIES, Shape, Standardise
from plait.matrix import Matrix, some


class Head(EarlyHead):
    """Concatenation of the projected modalities, then an MLP (after Gallo et al. 2020, "Image and Text fusion for
    UPMC Food-101 using BERT and CNNs").

    ``forward(features, present)``: features[s] (B, D_s) float, present[s] (B,) bool -> (B, K) logits. A missing
    modality is replaced by a learned vector; where both are missing the answer is the class prior.
    """

    note = "concatenation MLP"

    def __init__(self, shape: Shape):
        super().__init__(shape)
        hidden = shape.hidden
        self.standardise = nn.ModuleDict({s: Standardise(shape.dims[s]) for s in MODALITIES})
        self.project = nn.ModuleDict(
            {
                s: nn.Sequential(
                    nn.Linear(shape.dims[s], hidden),
                    nn.LayerNorm(hidden),
                    nn.GELU(),
                    Dropout(shape.dropout),
                )
                for s in MODALITIES
            }
        )
        self.missing = nn.ParameterDict({s: nn.Parameter(torch.zeros(hidden)) for s in MODALITIES})
        self.mix = nn.Sequential(
            nn.Linear(hidden * len(MODALITIES), hidden),
            nn.GELU(),
            Dropout(shape.dropout),
            nn.Linear(hidden, shape.classes),
        )

    def prepare(self, features: Mapping[str, Matrix], present: Mapping[str, Tensor], log_prior: Tensor) -> None:
        """Take standardisation and class prior from the training rows."""
        for modality in MODALITIES:
            self.standardise[modality].fit(some(features[modality], present[modality].nonzero()[:, 0]))  # type: ignore[operator]
        super().prepare(features, present, log_prior)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for modality in MODALITIES:
            projected = self.project[modality](self.standardise[modality](features[modality]))
            parts.append(torch.where(present[modality][:, None], projected, self.missing[modality]))
        logits = self.mix(torch.cat(parts, dim=1))
        nothing = ~torch.stack([present[s] for s in MODALITIES]).any(0)
        return torch.where(nothing[:, None], self.log_prior, logits)
