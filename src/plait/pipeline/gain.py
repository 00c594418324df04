"""What tuning an encoder gained: the tuned and the frozen one under the same heads, on the same test rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plait.config import TFIDF, Config
from plait.data.partition import Partition
from plait.encoders.image import LOCAL
from plait.files import blamed_on, write_json
from plait.fusion.inputs import logits
from plait.pipeline.models import fit_model
from plait.pipeline.prepare import Preparation
from plait.report.uncertainty import Paired, paired
from plait.training.heads.fitter import Fitter

FILE = "gain.json"


@dataclass(frozen=True)
class Gain:
    """Test accuracy 0..1 of one modality's head on the frozen encoder and on the tuned one, on `rows` rows."""

    modality: str
    rows: int
    frozen: float
    tuned: float
    paired: Paired

    def line(self) -> str:
        """What was gained, its interval, and whether it is more than chance."""
        low, high = (100 * end for end in self.paired.interval)
        points = 100 * self.paired.difference
        p = "p < 0.001" if self.paired.p < 0.001 else f"p {self.paired.p:.3f}"
        found = (
            f"{self.modality} alone, {self.rows:,} test rows: {100 * self.frozen:.2f} % frozen, "
            f"{100 * self.tuned:.2f} % tuned, {points:+.2f} points [{low:+.2f}, {high:+.2f}], {p}"
        )
        if self.paired.chance:
            return f"{found}: no gain that is not chance; the frozen encoder does as well"
        return found if points > 0 else f"{found}: tuning lost; keep the frozen encoder"

    def facts(self) -> dict[str, Any]:
        """As JSON values, shares in 0..1."""
        return {
            "modality": self.modality, "rows": self.rows, "frozen": self.frozen, "tuned": self.tuned,
            "difference": self.paired.difference, "interval": list(self.paired.interval), "p": self.paired.p,
        }  # fmt: skip


def measure_gain(parts: Partition, config: Config, modality: str, folder: Path) -> Gain | None:
    """Hold a tuned encoder against the one it was tuned from, and write ``gain.json`` into its folder.

    Both get heads fitted to the same training rows; what encoders of TF-IDF stand beside a text encoder, stand beside
    both. None without test rows, and for an image network that started from random weights.

    Args:
        parts: of the rows that the encoder was tuned on.
        folder: of the tuned encoder.
    """
    if parts.test is None or (modality == "image" and not config.image.pretrained):
        return None
    right = [_right(parts, one, modality) for one in (config, with_tuned(config, modality, folder))]
    frozen, tuned = right
    found = Gain(modality, len(frozen), float(frozen.mean()), float(tuned.mean()), paired(tuned, frozen))
    with blamed_on(folder):
        write_json(folder / FILE, found.facts())
    return found


def with_tuned(config: Config, modality: str, folder: Path) -> Config:
    """The configuration with a tuned encoder in the place of the one it was tuned from."""
    if modality == "image":
        model = "+".join([f"{LOCAL}{folder}", *config.image.names[1:]])
        update: dict[str, Any] = {"model": model, "size": None, "tune": False}
        return config.model_copy(update={"image": config.image.model_copy(update=update)})
    names = [name if name in TFIDF else str(folder) for name in config.text.names]
    update = {"model": "+".join(names), "tune": False}
    return config.model_copy(update={"text": config.text.model_copy(update=update)})


def _right(parts: Partition, config: Config, modality: str) -> np.ndarray:
    """(N,) bool: the test rows that one modality's head answers right."""
    assert parts.test is not None
    settings = {s: getattr(config, s).model_copy(update={"tune": False}) for s in ("image", "text")}
    config = config.model_copy(update=settings)
    prepared = Preparation(parts.train, config, (modality,), parts.val)
    fitted = fit_model(prepared, Fitter(prepared.task(), config, prepared.device), modality)
    inputs = prepared.inputs_of(parts.test, fitted.encoders or prepared.make_encoders())
    right: np.ndarray = logits(fitted.head, inputs).argmax(1).numpy() == prepared.numbers(parts.test).numpy()
    return right
