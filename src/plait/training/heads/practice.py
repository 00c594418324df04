"""What a head for both modalities must cope with in training: rows with one hidden, or taken from another row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Rows = Mapping[str, Tensor]


@dataclass(frozen=True)
class Practice:
    """Changes to the rows of a training batch, drawn anew for each.

    Attributes:
        hide: share of rows that lose their image, and as many their text (ModDrop, Neverova et al. 2015), so that
            each modality learns to answer alone; at most 0.5.
        swap: share of rows that get another row's features, by modality. It makes up for an encoder that was trained on
            these very rows: it separates them better than it will separate new ones, and a head that never sees it
            err would trust it too much.
    """

    hide: float = 0.0
    swap: Mapping[str, float] = field(default_factory=dict)

    def apply(self, features: Rows, present: Rows) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """New ``features[s]`` (B, D_s) and ``present[s]`` (B,) bool; the given ones stay as they are."""
        seen = self._hidden(present) if self.hide else dict(present)
        # Rows are swapped by what is really there: hiding a modality must not keep it from being given away.
        return self._swapped(features, present), seen

    def _hidden(self, present: Rows) -> dict[str, Tensor]:
        """Hide at most one modality of a row, and only where the other one is there."""
        image, text = present["image"], present["text"]
        draw = torch.rand(image.shape, device=image.device)
        hide_image = (draw < self.hide) & text
        hide_text = (draw > 1 - self.hide) & image
        return {"image": image & ~hide_image, "text": text & ~hide_text}

    def _swapped(self, features: Rows, present: Rows) -> dict[str, Tensor]:
        """Give a share of the rows the features of another row of the batch."""
        swapped = dict(features)
        for modality, share in self.swap.items():
            rows = features[modality]
            other = torch.randperm(len(rows), device=rows.device)
            chosen = (torch.rand(len(rows), device=rows.device) < share) & present[modality] & present[modality][other]
            swapped[modality] = torch.where(chosen[:, None], rows[other], rows)
        return swapped
