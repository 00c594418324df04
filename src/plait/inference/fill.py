"""Rows without a text, answered by a caption of their image, too: as much as captions were found to be worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from plait.data.pairs import Pairs
from plait.encoders.base import TextEncoder
from plait.features.encode import Features, encode_texts

if TYPE_CHECKING:
    from plait.captions.folder import Captioner

CAPTION = "caption"  # what captions are called among features: a text of a machine's, for rows that have none


@dataclass(frozen=True)
class Fill:
    """A captioner and what its captions count for.

    Attributes:
        weight: 0 to 1, see `mixed`.
    """

    captioner: Captioner
    weight: float

    def features(
        self, pairs: Pairs, image: Features, encoders: Sequence[TextEncoder]
    ) -> tuple[Features, list[str | None]]:
        """Features of captions and the captions, of the rows that have an image that can be read and no text."""
        from plait.captions.folder import captions_of  # with PyTorch, which an exported run does without

        rows = np.flatnonzero(image.present & ~pairs.has_text)
        said: list[str | None] = [None] * len(pairs)
        for row, caption in zip(rows, captions_of(self.captioner, pairs, rows.tolist()), strict=True):
            said[row] = caption
        return encode_texts(encoders, Pairs.from_columns(texts=said)), said


def mixed(blank: np.ndarray, filled: np.ndarray, weight: float) -> np.ndarray:
    """(N, K) probabilities without and with captions, pooled by their logarithms: blank^(1-w) · filled^w."""
    logs = (1 - weight) * np.log(blank.clip(1e-30)) + weight * np.log(filled.clip(1e-30))
    powers = np.exp(logs - logs.max(axis=1, keepdims=True), dtype=np.float64)
    pooled: np.ndarray = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return pooled
