"""`Engine`: raw pairs in, probabilities out. What `predict`, `evaluate`, the server and the page run on.

It knows encoders and a head by what they do, so the same engine runs on PyTorch and, from an exported folder, on ONNX
Runtime without importing PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from plait.config import Config
from plait.data.pairs import ImageRef
from plait.data.read import read_as
from plait.data.sketch import Sketch
from plait.encoders.pair import EncoderPair
from plait.encoding import Features, decode, encode, report_problems

if TYPE_CHECKING:
    from plait.features import FeatureStore

FeaturesOf = Mapping[str, Features]


class Head(Protocol):
    """A calibrated head: the features of N rows -> (N, K) float32 logits."""

    def __call__(self, features: FeaturesOf) -> np.ndarray: ...


@dataclass(frozen=True)
class Item:
    """One pair as a server gets it: an encoded image file, a text, or both."""

    image: bytes | None = None
    text: str | None = None


@dataclass
class Engine:
    """Encoders and a head that answer.

    Attributes:
        labels: (K,) sorted labels; column k of a probability belongs to ``labels[k]``.
        model: image, text, late or early.
        fingerprint: of the folder it was opened from: equal for equal encoders, head and labels; else empty.
        metrics: what is known of the fit: rows, validation loss, a note.
        seen: the rows that it has learnt from; None where that is not known. folder: that it was opened from.
        warnings: what counted as missing in the last rows. seconds: how long they took to encode, for each strand.
    """

    encoders: EncoderPair
    head: Head
    labels: list[str]
    model: str
    config: Config
    fingerprint: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    seen: Sketch | None = None
    folder: str = ""
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path, device: str = "auto") -> Engine:
        """Read a run folder, or a folder that `plait export` wrote. Nothing in it is executed.

        Raises:
            RunError: not a run, cut short, altered, or written by a newer version.
        """
        from plait.runs import open_engine

        return open_engine(Path(folder), device)

    @property
    def strands(self) -> tuple[str, ...]:
        """What it reads: image, text or both."""
        return self.encoders.strands

    def predict(self, pairs: Any) -> np.ndarray:
        """The most probable label of each row: (N,) array of str."""
        labels: np.ndarray = np.array(self.labels)[self.predict_proba(pairs).argmax(1)]
        return labels

    def predict_proba(self, pairs: Any, store: FeatureStore | None = None) -> np.ndarray:
        """Calibrated probabilities, (N, K) float32, rows sum to 1; see `features`."""
        return self.probabilities(self.features(pairs, store))

    def features(self, pairs: Any, store: FeatureStore | None = None) -> dict[str, Features]:
        """Features of some rows, for `probabilities` and `effects`; unreadable images are named, and missing.

        Args:
            pairs: anything `plait.read` takes.
            store: where features are looked up and kept; None encodes without keeping anything.
        """
        pairs = read_as(pairs, self.config)
        found = encode(self.encoders, pairs, self.config.image, store)
        problems = [problem for features in found.values() for problem in features.problems]
        self.warnings = report_problems(problems, self.config.data.strict, len(pairs))
        self.seconds = {f"encode_{strand}": features.seconds for strand, features in found.items()}
        return found

    def probabilities(self, features: FeaturesOf) -> np.ndarray:
        """Features -> (N, K) float32 probabilities."""
        return softmax(self.head(features))

    def effects(self, features: FeaturesOf) -> dict[str, np.ndarray]:
        """How much each strand moved the answer, (N,) float32 in -1 to 1 each.

        The probability of the predicted label with every strand, less its probability with that strand hidden.
        """
        full = self.probabilities(features)
        rows, answer = np.arange(len(full)), full.argmax(1)
        moved = {}
        for strand, one in features.items():
            hidden = {**features, strand: one.hidden()}
            moved[strand] = full[rows, answer] - self.probabilities(hidden)[rows, answer]
        return moved

    def decode(self, image: bytes) -> np.ndarray:
        """The pixels of an encoded image, (3, H, W) uint8, as the image encoder takes them.

        Raises:
            ValueError: why it cannot be read.
        """
        assert self.encoders.image is not None
        pixels, reason = decode(self.encoders.image, ImageRef(bytes=image))
        if pixels is None:
            raise ValueError(reason)
        return pixels

    def encode(self, images: Sequence[np.ndarray | None], texts: Sequence[str | None]) -> dict[str, Features]:
        """Features of N decoded images and texts; a strand that no encoder reads is left away.

        The short way to an answer, without tables, hashes and threads: what a server needs for a few items.
        """
        found = {}
        if self.encoders.image is not None:
            shown = np.array([image is not None for image in images], bool)
            pixels = [image for image in images if image is not None]
            vectors = np.zeros((len(images), self.encoders.image.dim), np.float32)
            if pixels:
                vectors[shown] = self.encoders.image.encode(np.stack(pixels))
            found["image"] = Features(vectors, shown)
        if self.encoders.text:
            said = np.array([bool(text and text.strip()) for text in texts], bool)
            words = [text for text in texts if text and text.strip()]
            vectors = np.zeros((len(texts), sum(encoder.dim for encoder in self.encoders.text)), np.float32)
            if words:
                vectors[said] = np.concatenate([encoder.encode(words) for encoder in self.encoders.text], axis=1)
            found["text"] = Features(vectors, said)
        return found

    def answer(self, items: Sequence[Item]) -> np.ndarray:
        """(N, K) float32 probabilities of a few items.

        Raises:
            ValueError: an image that cannot be read.
        """
        reads_images = self.encoders.image is not None
        images = [self.decode(item.image) if item.image and reads_images else None for item in items]
        return self.probabilities(self.encode(images, [self.clean(item.text) for item in items]))

    def clean(self, text: str | None) -> str | None:
        """A text as the encoders take it: without debris, where the run was trained so."""
        if text is None or not self.config.text.clean:
            return text
        from plait.data.clean import clean

        return clean(text)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, K) -> (N, K) float32, rows sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    shares: np.ndarray = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
