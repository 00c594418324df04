"""What captions are worth to a classifier, for rows without a text: fitted on validation rows whose text is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plait.captions.folder import load_captioner
from plait.data.pairs import Pairs
from plait.data.sketch import Sketch
from plait.errors import setting
from plait.features.encode import Features
from plait.features.store import FeatureStore
from plait.inference.engine import Engine
from plait.inference.fill import CAPTION, Fill, mixed
from plait.progress import say
from plait.report.uncertainty import paired

WEIGHTS = (0.25, 0.5, 0.75, 1.0)
LEAST = 30  # validation rows to fit by


@dataclass(frozen=True)
class FittedFill:
    """The weight of captions, and the mean validation loss of the rows without and with them."""

    weight: float
    rows: int
    blank: float
    filled: float

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return {"weight": self.weight, "rows": self.rows, "val_loss": {"blank": self.blank, "filled": self.filled}}


def fit_fill(engine: Engine, val: Pairs, targets: np.ndarray) -> dict[str, Any]:
    """Let the engine answer rows without a text by captions, as far as these gain on validation rows.

    The weight is the one with the least loss on validation rows whose own text is hidden; none where that gains no more
    than its standard error, or where there are too few rows that the captioner has not learnt from.

    Args:
        targets: (N,) class numbers of the rows.

    Returns:
        What a run notes of it: ``model``, ``weight``, ``rows``, ``val_loss``.

    Raises:
        EncoderError: no such captioner.
    """
    name = engine.config.text.fill
    assert name is not None
    if engine.modalities != ("image", "text"):
        say(f"{setting(f'text.fill={name}')} does nothing here: model {engine.model} does not read both image and text")
        return {"model": name, "weight": 0.0, "rows": 0}
    captioner = load_captioner(name)
    rows = np.flatnonzero(val.has_image & val.has_text & ~_learnt(name, val))
    if len(rows) < LEAST:
        say(
            f"text.fill: {len(rows)} validation rows have both an image and a text that '{name}' has not learnt from, "
            f"fewer than {LEAST}: captions count for nothing"
        )
        return {"model": name, "weight": 0.0, "rows": len(rows)}
    found = _fitted(engine, Fill(captioner, 1.0), val.select(rows), targets[rows])
    if found.weight:
        engine.fill = Fill(captioner, found.weight)
        say(f"text.fill: captions count {found.weight:g}: validation loss {found.filled:.3f}, blank {found.blank:.3f}")
    else:
        say("text.fill: captions gain nothing on validation rows and count for nothing; rows are answered by the image")
    return {"model": name, **found.facts()}


def _learnt(name: str, pairs: Pairs) -> np.ndarray:
    """(N,) bool: rows that a captioner has learnt from, as far as it says."""
    sketch = Sketch.load(Path(name))
    return sketch.learnt_from(pairs) if sketch is not None else np.zeros(len(pairs), bool)


def _fitted(engine: Engine, fill: Fill, pairs: Pairs, targets: np.ndarray) -> FittedFill:
    hidden = Pairs.from_columns(list(pairs.images()), [None] * len(pairs))
    features = engine.features(hidden, FeatureStore(engine.config.store))
    captions, _ = fill.features(hidden, features["image"], engine.encoders.text)
    rows = np.flatnonzero(captions.present)
    blank = engine.probabilities(features)[rows]
    engine.fill = fill
    filled = engine.probabilities({**features, CAPTION: captions})[rows]
    engine.fill = None
    losses = {0.0: _losses(blank, targets[rows])}
    losses |= {weight: _losses(mixed(blank, filled, weight), targets[rows]) for weight in WEIGHTS}
    best = min(losses, key=lambda weight: float(losses[weight].mean()))
    gain = losses[0.0] - losses[best]
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else float("inf")
    weight = best if float(gain.mean()) > error else 0.0
    return FittedFill(weight, len(rows), float(losses[0.0].mean()), float(losses[best].mean()))


def _losses(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    found: np.ndarray = -np.log(probabilities[np.arange(len(targets)), targets].clip(1e-12))
    return found


def words_of(engine: Engine, features: dict[str, Features], targets: np.ndarray) -> str:
    """One line on what captions gain on labelled rows beside leaving their texts blank."""
    rows = features[CAPTION].present
    with_them = engine.probabilities(features)[rows].argmax(1) == targets[rows]
    blank = {name: one for name, one in features.items() if name != CAPTION}
    without = engine.probabilities(blank)[rows].argmax(1) == targets[rows]
    gap = paired(with_them, without)
    low, high = (100 * end for end in gap.interval)
    return (
        f"{rows.sum():,} rows without a text were captioned: {100 * with_them.mean():.2f} % of them right, "
        f"{100 * without.mean():.2f} % with the text left blank; {100 * gap.difference:+.2f} points "
        f"[{low:+.2f}, {high:+.2f}]{', which may be chance' if gap.chance else ''}"
    )
