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
    strand is replaced by a learned vector; where both are missing the answer is the class prior. In training a strand
    is hidden from a row with probability `strand_dropout` (ModDrop, Neverova et al. 2015), so that the other learns
    to answer alone.

    `swap[s]` is the share of training rows that get another row's features for strand s. It makes up for an encoder
    that was trained on these very rows: it separates them better than it will separate new ones, and a head that
    never sees it err would trust it too much.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        hidden = shape.hidden
        self.strand_dropout = shape.strand_dropout
        self.swap: dict[str, float] = {}
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
        seen = self._hide(present) if self.training and self.strand_dropout else present
        if self.training and self.swap:
            features = self._swapped(features, present)
        parts = []
        for strand in STRANDS:
            projected = self.project[strand](self.standardise[strand](features[strand]))
            parts.append(torch.where(seen[strand][:, None], projected, self.missing[strand]))
        logits = self.mix(torch.cat(parts, dim=1))
        nothing = ~torch.stack([present[s] for s in STRANDS]).any(0)
        return torch.where(nothing[:, None], self.log_prior, logits)

    def _hide(self, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Hide at most one strand of a row, and only where the other one is there."""
        image, text = present["image"], present["text"]
        draw = torch.rand(image.shape, device=image.device)
        hide_image = (draw < self.strand_dropout) & text
        hide_text = (draw > 1 - self.strand_dropout) & image
        return {"image": image & ~hide_image, "text": text & ~hide_text}

    def _swapped(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give a share of the rows the features of another row of the batch."""
        swapped = dict(features)
        for strand, share in self.swap.items():
            rows = features[strand]
            other = torch.randperm(len(rows), device=rows.device)
            chosen = (torch.rand(len(rows), device=rows.device) < share) & present[strand] & present[strand][other]
            swapped[strand] = torch.where(chosen[:, None], rows[other], rows)
        return swapped
