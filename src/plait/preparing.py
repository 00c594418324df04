"""From labelled pairs to a `Task`: checks, splits, encoders, features. What `fit` and `compare` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plait.config import Config
from plait.data.check import require_classes, require_known_labels, require_labels
from plait.data.pairs import Pairs
from plait.data.split import folds, stratified
from plait.devices import pick_device
from plait.encoders.image import LOCAL, load_image_encoder
from plait.encoders.pair import EncoderPair
from plait.encoders.text import load_text_encoders
from plait.encoders.tfidf import TfidfEncoder
from plait.encoding import encode
from plait.errors import DataError
from plait.experts import SparseRows
from plait.features import FeatureStore
from plait.fitting import Task
from plait.fusion.batch import Strands
from plait.fusion.strand import STRANDS, Part
from plait.loop import Curve
from plait.problems import Tally
from plait.strands import to_strands
from plait.tuned import Tuner, warn_of_cleaning
from plait.tuning.folder import FACTS, facts_of, share_seen

SEEN = 0.1  # share of the training rows an encoder has learnt from, above which it is not trusted as on new rows


@dataclass
class Preparation:
    """Labelled pairs on their way to a `Task`.

    Args:
        pairs: all labelled rows for training (and validation, unless `val` is given).
        config: the configuration.
        strands: which strands to encode.
        val: rows that choose epochs and calibrate; None holds out ``data.val_fraction``.

    Raises:
        DataError: missing labels, a single class, a strand without a single input.
    """

    pairs: Pairs
    config: Config
    strands: Sequence[str] = STRANDS
    val: Pairs | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    encoded: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    _scored: dict[Any, tuple[Mapping[int, Tensor], EncoderPair]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labels = require_classes(self.pairs)
        for strand in self.strands:
            self.require_strand(self.pairs, strand)
        self._numbers = {label: i for i, label in enumerate(self.labels)}
        self.device = pick_device(self.config.device)
        self.store = FeatureStore(self.config.store)
        self.tally = Tally(self.config.data.strict, self.warnings)
        self.train_pairs, self.val_pairs = self.pairs, self.val
        if self.val is None:
            kept, held = stratified(self.pairs, self.config.data.val_fraction, self.config.seed)
            if len(held) == 0:
                raise DataError(
                    f"{self.pairs.source}: no class has two different rows, so none can be held out; give --val"
                )
            self.train_pairs, self.val_pairs = self.pairs.select(kept), self.pairs.select(held)
        assert self.val_pairs is not None
        require_known_labels(self.val_pairs, self.labels)

    @staticmethod
    def require_strand(pairs: Pairs, strand: str) -> None:
        """Raise DataError where not a single row has that strand."""
        if not (pairs.has_image if strand == "image" else pairs.has_text).any():
            other = "text" if strand == "image" else "image"
            names = ", ".join(pairs.columns) or "id, image, text, label"
            raise DataError(
                f"{pairs.source}: no row has an {strand} (columns: {names}); "
                f"name its column with --set data.{strand}=COLUMN, "
                f"or use the {other} alone: plait fit --set model={other}".replace("an text", "a text")
            )

    def numbers(self, pairs: Pairs) -> Tensor:
        """(N,) int64 class number of each row. Raises DataError for a label that was never seen in training."""
        require_known_labels(pairs, self.labels)
        return torch.tensor([self._numbers[label] for label in require_labels(pairs)])

    @cached_property
    def encoders(self) -> EncoderPair:
        """Loaded, fitted to the training texts, or tuned on the training rows, as configured."""
        encoders = EncoderPair()
        config = self.config
        if "text" in self.strands:
            texts = lambda: [text for text in self.train_pairs.texts if text is not None]  # noqa: E731
            if not config.text.tune:
                warn_of_cleaning(config.text)
            tuned = self._tuned("text") if config.text.tune else None
            encoders.text = load_text_encoders(config.text, texts, self.device, config.seed, tuned)
        if "image" in self.strands:
            image = config.image
            if image.tune or not image.pretrained:
                # The folder's own preprocessing has the size it was tuned at.
                image = image.model_copy(update={"model": f"{LOCAL}{self._tuned('image')}"})
            encoders.image = load_image_encoder(image, self.device)
        return encoders

    def scored(self, scores: Mapping[int, Tensor]) -> EncoderPair:
        """The encoders with the linear classifiers on their wide features, made once."""
        key = tuple((number, id(weights)) for number, weights in scores.items())
        if key not in self._scored:
            self._scored[key] = (scores, with_scores(self.encoders, scores))
        return self._scored[key][1]

    @cached_property
    def tuner(self) -> Tuner:
        """What tunes encoders on the training rows."""
        assert self.val_pairs is not None
        return Tuner(self.train_pairs, self.val_pairs, self.labels, self.config, self.device, self.tally)

    @property
    def seen(self) -> frozenset[str]:
        """Strands whose encoder has learnt from these training rows and their labels, now or in an earlier tuning."""
        config = self.config
        models = {"image": [config.image.model.removeprefix(LOCAL)], "text": config.text.names}
        tuned = {"image": config.image.tune or not config.image.pretrained, "text": config.text.tune}
        hashes = {"image": lambda: self.train_pairs.image_hashes[0], "text": lambda: self.train_pairs.text_hashes}
        return frozenset(
            strand
            for strand in self.strands
            if tuned[strand]
            or any(share_seen(facts_of(Path(name)).get("seen", []), hashes[strand]()) > SEEN for name in models[strand])
        )

    def strands_of(self, pairs: Pairs, encoders: EncoderPair | None = None) -> Strands:
        """Features of some rows; problems and seconds are added to this preparation.

        Args:
            encoders: None for this preparation's own.
        """
        found = encode(encoders or self.encoders, pairs, self.config.image, self.store, self.tally)
        for strand, features in found.items():
            key = f"encode_{strand}"
            self.seconds[key] = self.seconds.get(key, 0.0) + features.seconds
            self.encoded += features.encoded
        return to_strands(found)

    def task(self) -> Task:
        """Everything heads are fitted to."""
        assert self.val_pairs is not None
        fold = torch.from_numpy(folds(self.train_pairs, self.config.head.folds, self.config.seed))
        return Task(
            train=self.strands_of(self.train_pairs),
            targets=self.numbers(self.train_pairs),
            folds=fold,
            val=self.strands_of(self.val_pairs),
            val_targets=self.numbers(self.val_pairs),
            classes=len(self.labels),
            seen=self.seen,
            class_vectors=self._class_vectors() if self.config.head.early == "huse" else None,
            parts=self._parts(),
            sparse=self._sparse(),
        )

    def _parts(self) -> dict[str, tuple[Part, ...]]:
        """The columns of each strand by encoder."""
        found = {"text": tuple(Part(encoder.name, encoder.dim) for encoder in self.encoders.text)}
        if self.encoders.image is not None:
            found["image"] = (Part(self.encoders.image.name, self.encoders.image.dim),)
        return {strand: parts for strand, parts in found.items() if parts}

    def _sparse(self) -> dict[int, SparseRows]:
        """The whole TF-IDF matrices, which linear heads read instead of their leading components."""
        if self.config.head.kind != "linear":
            return {}
        assert self.val_pairs is not None
        train, val = self.train_pairs.texts, self.val_pairs.texts
        return {
            i: SparseRows(encoder.matrix(train), encoder.matrix(val))
            for i, encoder in enumerate(self.encoders.text)
            if isinstance(encoder, TfidfEncoder)
        }

    def _class_vectors(self) -> Tensor | None:
        """(K, D) embeddings of the class names by the text encoders; None without any."""
        if not self.encoders.text:
            return None
        names = [label.replace("_", " ") for label in self.labels]
        return torch.cat([torch.as_tensor(encoder.encode(names)) for encoder in self.encoders.text], dim=1)

    def _tuned(self, strand: str) -> Path:
        """The folder of an encoder tuned on the training rows; the same rows, settings and seed tune it only once."""
        folder = self.store.folder / "encoders" / self.tuner.key(strand)
        if not (folder / FACTS).is_file():
            facts = self.tuner.tune(strand, folder, overwrite=True)
            self.seconds[f"tune_{strand}"] = facts["seconds"]
        self.curves[strand] = facts_of(folder)["curve"]
        return folder


def with_scores(encoders: EncoderPair, scores: Mapping[int, Tensor]) -> EncoderPair:
    """The encoders with (V, K) linear classifiers on the wide features of some text encoders, by number."""
    text = [
        one.with_scores(scores[i].numpy()) if i in scores and isinstance(one, TfidfEncoder) else one
        for i, one in enumerate(encoders.text)
    ]
    return EncoderPair(encoders.image, text)
