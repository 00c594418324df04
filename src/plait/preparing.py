"""From labelled pairs to a `Task`: checks, splits, encoders, features. What `fit` and `compare` share."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from plait.config import Config, ImageConfig
from plait.data.check import require_classes, require_known_labels, require_labels
from plait.data.pairs import Pairs, content_hash
from plait.data.split import folds, stratified
from plait.encoders.base import pick_device
from plait.encoders.image import LOCAL, ImageEncoder, create_model, data_config, load_image_encoder
from plait.encoders.pair import EncoderPair
from plait.encoders.text import load_text_encoders
from plait.encoding import encode, report_problems, to_strands
from plait.errors import DataError
from plait.features import FeatureStore
from plait.fitting import Task
from plait.fusion.batch import Strands
from plait.fusion.strand import STRANDS
from plait.loop import Curve


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
    image_curve: Curve = field(default_factory=list)

    def __post_init__(self) -> None:
        self.labels = require_classes(self.pairs)
        for strand in self.strands:
            self.require_strand(self.pairs, strand)
        self._numbers = {label: i for i, label in enumerate(self.labels)}
        self.device = pick_device(self.config.device)
        self.store = FeatureStore(self.config.store)
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
        """Loaded, fitted to the training texts, or trained on the training images, as configured."""
        encoders = EncoderPair()
        if "text" in self.strands:
            texts = lambda: [text for text in self.train_pairs.texts if text is not None]  # noqa: E731
            encoders.text = load_text_encoders(self.config.text, texts, self.device, self.config.seed)
        if "image" in self.strands:
            config = self.config.image
            encoders.image = load_image_encoder(config, self.device) if config.pretrained else self._trained(config)
        return encoders

    @property
    def seen(self) -> frozenset[str]:
        """Strands whose encoder learns from the training rows and their labels."""
        return frozenset({"image"} if "image" in self.strands and not self.config.image.pretrained else set())

    def strands_of(self, pairs: Pairs) -> Strands:
        """Features of some rows; problems and seconds are added to this preparation."""
        found = encode(self.encoders, pairs, self.config.image, self.store)
        for strand, features in found.items():
            key = f"encode_{strand}"
            self.seconds[key] = self.seconds.get(key, 0.0) + features.seconds
            self.encoded += features.encoded
            self.warnings += report_problems(features.problems, self.config.data.strict, len(pairs))
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
        )

    def _trained(self, config: ImageConfig) -> ImageEncoder:
        """An image encoder trained on the training rows; the same rows, settings and seed train it only once."""
        from plait.tuning.image import train_image

        folder = self.store.folder / "encoders" / self._training_key(config)
        if (folder / "curve.json").is_file():
            self.image_curve = json.loads((folder / "curve.json").read_text("utf-8"))
            model = create_model(f"{LOCAL}{folder}", pretrained=True)
            return ImageEncoder(model, data_config(model), config.model, self.device)
        assert self.val_pairs is not None
        val = (self.val_pairs, self.numbers(self.val_pairs))
        trained = train_image(
            self.train_pairs,
            self.numbers(self.train_pairs),
            val,
            len(self.labels),
            config,
            seed=self.config.seed,
            device=self.device,
        )
        self.seconds["train_image"] = trained.seconds
        self.image_curve = trained.curve
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        trained.encoder.save(part)
        (part / "curve.json").write_text(json.dumps(trained.curve), "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        return trained.encoder

    def _training_key(self, config: ImageConfig) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(
            json.dumps([config.model_dump(exclude={"batch", "workers"}), self.config.seed, self.labels]).encode()
        )
        assert self.val_pairs is not None
        for pairs in (self.train_pairs, self.val_pairs):
            for ref, label in zip(pairs.images(), pairs.labels, strict=True):
                digest.update(_hash_or_none(ref) + str(label).encode())
        return digest.hexdigest()


def _hash_or_none(ref: object) -> bytes:
    try:
        return content_hash(ref.load()) if ref is not None else b""  # type: ignore[attr-defined]
    except (OSError, ValueError):
        return b""
