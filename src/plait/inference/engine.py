"""`Engine`: raw pairs in, probabilities out. What `predict`, `evaluate`, the server and the page run on.

It knows encoders and a head by what they do, so the same engine runs on PyTorch and, from an exported folder, on ONNX
Runtime without importing PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from plait.config import Config
from plait.data.checks import has_any
from plait.data.columns import NONE
from plait.data.images import ImageRef
from plait.data.pairs import Pairs
from plait.data.read import columns_in, read_with
from plait.data.sketch import Sketch
from plait.data.unreadable import Tally
from plait.encoders.pair import EncoderPair
from plait.errors import DataError, setting
from plait.features.encode import Features, decode, encode
from plait.inference.fill import CAPTION, Fill, mixed
from plait.progress import say

if TYPE_CHECKING:
    from plait.features.store import FeatureStore

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
        sketches: the rows that it (key ``""``) and its encoders (by their folders in a run) have learnt from.
        provenance: versions, seed and time of the fit. folder: that it was opened from.
        fill: what stands in for missing texts; None: nothing. captions: of the last rows, None where there is none.
        warnings: what counted as missing in the last rows. seconds: how long they took to encode, for each modality.
    """

    encoders: EncoderPair
    head: Head
    labels: list[str]
    model: str
    config: Config
    fingerprint: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    sketches: dict[str, Sketch] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    folder: str = ""
    fill: Fill | None = None
    captions: list[str | None] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads: image, text or both."""
        return self.encoders.modalities

    @property
    def seen(self) -> Sketch | None:
        """The rows that it has learnt from; None where that is not known."""
        return self.sketches.get("")

    @property
    def columns(self) -> dict[str, str]:
        """The column that the training rows took for each role, as far as the run remembers."""
        named = {role: name for role, name in columns_in(self.config).named.items() if name != NONE}
        return {**named, **self.metrics.get("columns", {})}

    def read(self, data: Any, labelled: bool = False, kept: Sequence[str] = ()) -> Pairs:
        """Rows to answer, anything `plait.read` takes, with the columns of the training rows.

        Args:
            labelled: the labels will be used. kept: further columns to keep; see `Columns`.

        Raises:
            DataError: as `plait.read`, where a table has no column of what the run reads, and where no row has any.
        """
        shown = (*self.modalities, "label") if labelled else self.modalities
        known, needed = tuple(self.columns.items()), self.modalities
        columns = replace(columns_in(self.config), known=known, needed=needed, kept=tuple(kept))
        pairs = read_with(data, self.config, columns, shown)
        if not isinstance(data, Pairs) and len(pairs):
            self._require_some(pairs)
        return pairs

    def _require_some(self, pairs: Pairs) -> None:
        """Say so where no row has one of the modalities, and raise DataError where none has any."""
        missing = [modality for modality in self.modalities if not has_any(pairs, modality)]
        if len(missing) == len(self.modalities):
            both = " or ".join(f"{'an' if modality == 'image' else 'a'} {modality}" for modality in missing)
            keys = setting(*(f"data.{modality}=COLUMN" for modality in missing))
            remedy = f"name its column with {keys}" if pairs.columns else "give data that has"
            raise DataError(f"{pairs.source}: the run reads {both}, and no row has one; {remedy}")
        for modality in missing:
            name, other = pairs.taken.get(modality), "text" if modality == "image" else "image"
            if getattr(self.config.data, modality) != NONE:
                why = f"no {modality}s" if name is None else f"no {modality} in column '{name}'"
                say(f"{pairs.source}: {why}: answered by the {other} alone")

    def predict(self, pairs: Any) -> np.ndarray:
        """The most probable label of each row: (N,) array of str."""
        labels: np.ndarray = np.array(self.labels)[self.predict_proba(pairs).argmax(1)]
        return labels

    def predict_proba(self, pairs: Any, store: FeatureStore | None = None) -> np.ndarray:
        """Calibrated probabilities, (N, K) float32, rows sum to 1; see `features`."""
        return self.probabilities(self.features(pairs, store))

    def features(
        self, pairs: Any, store: FeatureStore | None = None, tally: Tally | None = None
    ) -> dict[str, Features]:  # fmt: skip
        """Features of some rows, for `probabilities` and `effects`; unreadable images are named, and missing.

        Args:
            pairs: anything `plait.read` takes.
            store: where features are looked up and kept; None encodes without keeping anything.
            tally: what counted unreadable images of other rows of these sources; None: nothing did.

        Raises:
            DataError: as `read` does, and where more than half of the images cannot be read.
        """
        pairs = self.read(pairs)
        tally = tally or Tally(self.config.data.strict)
        found = encode(self.encoders, pairs, self.config.image, store, tally)
        self.captions = []
        if self.fill is not None:
            found[CAPTION], self.captions = self.fill.features(pairs, found["image"], self.encoders.text)
        self.warnings = tally.warnings
        self.seconds = {f"encode_{modality}": features.seconds for modality, features in found.items()}
        return found

    def without_captions(self, what: str) -> None:
        """Leave missing texts blank from here on, and say so where captions would have stood in for them."""
        if self.fill is not None:
            say(f"{what} leaves missing texts blank: captions stand in for them in predict and evaluate alone")
            self.fill = None

    def probabilities(self, features: FeaturesOf) -> np.ndarray:
        """Features -> (N, K) float32 probabilities."""
        own = {name: one for name, one in features.items() if name != CAPTION}
        found = softmax(self.head(own))
        captions = features.get(CAPTION)
        if captions is None or self.fill is None or not captions.present.any():
            return found
        rows = captions.present
        image = Features(own["image"].vectors[rows], own["image"].present[rows])
        filled = softmax(self.head({"image": image, "text": Features(captions.vectors[rows], captions.present[rows])}))
        found[rows] = mixed(found[rows], filled, self.fill.weight)
        return found

    def effects(self, features: FeaturesOf) -> dict[str, np.ndarray]:
        """How much each modality moved the answer, (N,) float32 in -1 to 1 each.

        The probability of the predicted label with every modality, less its probability with that modality hidden.
        """
        full = self.probabilities(features)
        rows, answer = np.arange(len(full)), full.argmax(1)
        moved = {}
        for modality, one in features.items():
            hidden = {**features, modality: one.hidden()}
            moved[modality] = full[rows, answer] - self.probabilities(hidden)[rows, answer]
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
        """Features of N decoded images and texts; a modality that no encoder reads is left away.

        The short way to an answer, without tables, hashes and threads: what a server needs for a few items.
        """
        found, dims = {}, self.encoders.dims
        if self.encoders.image is not None:
            shown = np.array([image is not None for image in images], bool)
            pixels = [image for image in images if image is not None]
            vectors = np.zeros((len(images), dims["image"]), np.float32)
            if pixels:
                vectors[shown] = self.encoders.image.encode(np.stack(pixels))
            found["image"] = Features(vectors, shown)
        if self.encoders.text:
            said = np.array([bool(text and text.strip()) for text in texts], bool)
            words = [text for text in texts if text and text.strip()]
            vectors = np.zeros((len(texts), dims["text"]), np.float32)
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
        from plait.data.cleaning import clean

        return clean(text)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, K) -> (N, K) float32, rows sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    shares: np.ndarray = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
