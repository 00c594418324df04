"""Where an engine looked: how much each part of the picture and each word spoke for a label.

By ablation, which asks nothing of encoders and head but answers, so it is the same for PyTorch, ONNX and TF-IDF: a part
is taken away, and what the label loses by it is the part's attribution (Zeiler & Fergus 2014, "Visualizing and
Understanding Convolutional Networks"). The loops are Captum's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from plait.errors import PlaitError
from plait.features.encode import Features

if TYPE_CHECKING:
    import torch

    from plait.inference.engine import Engine

GRID = 7  # cells a side
EDGE = 1.5  # cells over which a patch fades out: small or sharp patches hide too little, and add edges of their own
AT_ONCE = 8  # encodings: more take memory, and hardly less time
MOST_WORDS = 32  # parts of a text; in a longer one neighbours are taken together, or long texts would take minutes


@dataclass(frozen=True)
class Attribution:
    """What spoke for a label and what against, in log-odds (natural logarithm of p / (1 - p)) of that label.

    A value is the label's log-odds with everything there, less its log-odds without that part: above zero the part
    spoke for the label, below zero against. Parts are taken away one at a time, so the values of a picture or a text do
    not add up to its whole effect: of two words that say the same, either can be spared.

    Attributes:
        label: the number of the label, 0 to K - 1.
        picture: (GRID, GRID) float32 from the upper left; None where no picture was given or none is read.
        words: every word of the text with its value, in order; None where no text was given or none is read.
    """

    label: int
    picture: np.ndarray | None
    words: list[tuple[str, float]] | None


def require_captum() -> None:
    """Raise PlaitError where Captum is not installed."""
    try:
        import captum.attr  # noqa: F401
    except ImportError:
        raise PlaitError("attribution needs Captum; pip install 'plait[app]'") from None


def attribute(
    engine: Engine, pixels: np.ndarray | None, text: str | None, label: int | None = None, grid: int = GRID
) -> Attribution:
    """Attribution over one picture and its text, each with the other held as it is. The same input gives the same.

    A cell of the picture and, fading out, its surroundings are painted over with the picture's mean colour; a word is
    left out. Takes grid² + W + 4 encodings for W words, `AT_ONCE` at a time.

    Args:
        pixels: (3, H, W) uint8 as `Engine.decode` gives it, or None.
        text: as the engine reads it, cleaned where the engine cleans; None or blank where there is none.
        label: the label's number; None: the most probable one.
        grid: cells a side of the picture.

    Raises:
        PlaitError: Captum is not installed.
    """
    require_captum()
    found = engine.encode([pixels], [text])
    if label is None:
        label = int(engine.probabilities(found)[0].argmax())
    picture, words = None, None
    if pixels is not None and "image" in found:
        picture = _over_picture(engine, pixels, found, label, grid)
    if text and text.strip() and "text" in found:
        words = _over_words(engine, text.split(), found, label)
    return Attribution(label, picture, words)


def _over_picture(engine: Engine, pixels: np.ndarray, found: dict[str, Features], label: int, grid: int) -> np.ndarray:
    import torch

    shown = torch.from_numpy(pixels).float()
    plain = shown.mean((1, 2), keepdim=True)
    down, across = (torch.from_numpy(_bumps(side, grid)) for side in shown.shape[1:])

    def score(batch: torch.Tensor) -> torch.Tensor:
        gone = torch.einsum("bij,ih,jw->bhw", 1 - batch.view(-1, grid, grid), down, across)[:, None]
        painted = (shown + (plain - shown) * gone).round().to(torch.uint8).numpy()
        seen = engine.encode(list(painted), [None] * len(painted))
        return _log_odds(engine, {**found, "image": seen["image"]}, label, len(painted))

    picture: np.ndarray = _ablate(score, torch.arange(grid * grid)[None])[0].view(grid, grid).numpy()
    return picture


def _over_words(engine: Engine, words: list[str], found: dict[str, Features], label: int) -> list[tuple[str, float]]:
    import torch

    def score(batch: torch.Tensor) -> torch.Tensor:
        texts = [" ".join(word for word, kept in zip(words, row, strict=True) if kept) for row in batch.bool().tolist()]
        said = engine.encode([None] * len(texts), texts)
        return _log_odds(engine, {**found, "text": said["text"]}, label, len(texts))

    parts = torch.arange(len(words)) * min(MOST_WORDS, len(words)) // len(words)
    return list(zip(words, _ablate(score, parts[None])[0].tolist(), strict=True))


def _ablate(score: Callable[[torch.Tensor], torch.Tensor], parts: torch.Tensor) -> torch.Tensor:
    """(1, P) float32: what the score of all-ones (1, P) loses where a part is zero.

    Args:
        score: (B, P) of ones and zeros -> (B,).
        parts: (1, P) int64; equal numbers are taken away together.
    """
    import torch
    from captum.attr import FeatureAblation

    values: torch.Tensor = FeatureAblation(score).attribute(
        torch.ones(parts.shape), feature_mask=parts, perturbations_per_eval=AT_ONCE
    )
    return values.float()


def _bumps(side: int, grid: int) -> np.ndarray:
    """(grid, side) float32: 1 over each cell, falling to 0 over the next cell and a half on both sides."""
    cell = side / grid
    centres = (np.arange(grid) + 0.5) * cell
    away = np.abs(np.arange(side) + 0.5 - centres[:, None]) / cell
    return ((0.5 + EDGE - away) / EDGE).clip(0, 1).astype(np.float32)


def _log_odds(engine: Engine, found: dict[str, Features], label: int, n: int) -> torch.Tensor:
    """(N,) log-odds of the label. Features of one row stand for N."""
    import torch

    rows = {modality: Features(_rows(one.vectors, n), _rows(one.present, n)) for modality, one in found.items()}
    # From logits, in double precision: a probability next to 1 has no digits left to tell how near.
    logits = torch.from_numpy(engine.head(rows)).double()
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - others.logsumexp(1)


def _rows(values: np.ndarray, n: int) -> np.ndarray:
    return np.repeat(values, n, 0) if len(values) < n else values
