"""Early (feature-level) fusion."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plait.fusion.strand import STRANDS, Shape, Standardise


class EarlyHead(nn.Module):
    """Concatenation of the projected strands, then an MLP (after Gallo et al. 2020, "Image and Text fusion for
    UPMC Food-101 using BERT and CNNs").

    ``forward(features, present)``: features[s] (B, D_s) float, present[s] (B,) bool -> (B, K) logits. A missing
    strand is replaced by a learned vector; where both are missing the answer is the class prior.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        hidden = shape.hidden
        self.register_buffer("log_prior", torch.zeros(shape.classes))
        self.standardise = nn.ModuleDict({s: Standardise(shape.dims[s]) for s in STRANDS})
        self.project = nn.ModuleDict(
            {
                s: nn.Sequential(
                    nn.Linear(shape.dims[s], hidden),
                    nn.LayerNorm(hidden),
                    nn.GELU(),
                    nn.Dropout(shape.dropout),
                )
                for s in STRANDS
            }
        )
        self.missing = nn.ParameterDict({s: nn.Parameter(torch.zeros(hidden)) for s in STRANDS})
        self.mix = nn.Sequential(
            nn.Linear(hidden * len(STRANDS), hidden),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(hidden, shape.classes),
        )

    def prepare(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], log_prior: Tensor) -> None:
        """Take standardisation and class prior from the training rows."""
        for strand in STRANDS:
            self.standardise[strand].fit(features[strand][present[strand]])  # type: ignore[operator]
        self.log_prior = log_prior

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for strand in STRANDS:
            projected = self.project[strand](self.standardise[strand](features[strand]))
            parts.append(torch.where(present[strand][:, None], projected, self.missing[strand]))
        logits = self.mix(torch.cat(parts, dim=1))
        nothing = ~torch.stack([present[s] for s in STRANDS]).any(0)
        return torch.where(nothing[:, None], self.log_prior, logits)
