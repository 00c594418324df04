"""From labelled pairs to a `Task`: checks, validation rows, encoders, features. What `fit` and `compare` share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plait.config import TFIDF, Config
from plait.data.checks import require_classes, require_known_labels, require_labels
from plait.data.draws import folds
from plait.data.pairs import Pairs
from plait.data.partition import divide, groups_of
from plait.data.sketch import Sketch
from plait.data.unreadable import Tally
from plait.devices import pick_device
from plait.encoders.base import ImageEncoder, TextEncoder
from plait.encoders.classifier import own_classifiers
from plait.encoders.image import LOCAL, folder_of, kept_image_encoder
from plait.encoders.joined import by_folder
from plait.encoders.pair import EncoderPair
from plait.encoders.text import load_text_encoders
from plait.encoders.tfidf import TfidfEncoder
from plait.errors import DataError, setting
from plait.features.encode import encode
from plait.features.sizing import sized
from plait.features.store import FeatureStore
from plait.fusion.early import EARLY
from plait.fusion.inputs import HeadInputs
from plait.fusion.modality import MODALITIES, Part
from plait.inference.torch_head import to_inputs
from plait.progress import say
from plait.training.encoders.folder import FACTS, facts_of
from plait.training.encoders.tuner import Tuner, learnt_by, pretuned, warn_of_cleaning
from plait.training.heads.experts import SparseRows
from plait.training.heads.kept import KeptHeads
from plait.training.heads.task import CROSS_FIT, Task
from plait.training.seeds import Curve

ENOUGH = 200  # rows that no head is trained on, for calibration
SEEN = 0.1  # share of rows an encoder has learnt from, above which it is not trusted as on new rows


@dataclass
class Preparation:
    """Labelled pairs on their way to a `Task`.

    Args:
        pairs: labelled rows for training (and validation, unless `val` is given); see `divide`.
        config: the configuration.
        modalities: which modalities to encode.
        val: rows that choose epochs and calibrate; None leaves their choice to `divide`.
        val_drawn: `val` was drawn from the rows to train on: linear heads learn from it, too, once it has chosen. Where
            `divide` chooses, it says so.
        remember: networks that are known from an earlier time stay closed until they have something to encode, and
            fitted TF-IDF is kept: for who compares, and keeps no encoder.

    Attributes:
        train_pairs, val_pairs: the rows that train and validate.
        images: the configuration of each image encoder, of which the first may be tuned; with sides that suit the rows.
        val_seen: more than a tenth of the validation rows are ones that an encoder has learnt from.

    Raises:
        DataError: missing labels, a single class, a modality without a single input.
    """

    pairs: Pairs
    config: Config
    modalities: Sequence[str] = MODALITIES
    val: Pairs | None = None
    val_drawn: bool = False
    remember: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    encoded: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    _scored: dict[Any, tuple[Mapping[int, Tensor], EncoderPair]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = learnt_by(self.config, self.modalities)
        parts = divide(
            self.pairs, self.config, val=self.val, modalities=self.modalities, hold_test=False, learnt=known
        )  # fmt: skip
        self.train_pairs, self.val_pairs = parts.train, parts.val
        self.val_drawn = self.val_drawn or parts.val_drawn
        if parts.test is not None:
            say(f"{self.pairs.source}: its test split ({len(parts.test):,} rows) is left out of training")
        self.labels = require_classes(self.train_pairs)
        for modality in self.modalities:
            self.require_modality(self.train_pairs, modality)
        self._numbers = {label: i for i, label in enumerate(self.labels)}
        self.device = pick_device(self.config.device)
        self.store = FeatureStore(self.config.store, self.config.memory_mb)
        self.tally = Tally(self.config.data.strict, self.warnings)
        require_known_labels(self.val_pairs, self.labels)
        self._look_at_encoders()
        self.images = self.config.image.members
        if "image" in self.modalities:
            self.images = [sized(one, self.train_pairs) for one in self.images]
            if len(self.images) == 1:
                self.config = self.config.model_copy(update={"image": self.images[0]})

    def _look_at_rows(self) -> None:
        """Say so where there are too few rows to calibrate by."""
        held = len(self.val_pairs) + (len(self.train_pairs) if len(self.train_pairs) <= CROSS_FIT else 0)
        if held < ENOUGH:
            line = f"only {held} rows to choose and calibrate by: confidences are rough; more labelled rows mend that"
            self._warn(line)

    def _warn(self, line: str) -> None:
        """Say and keep a warning, once."""
        if line not in self.warnings:
            say(f"warning: {line}")
            self.warnings.append(line)

    def _look_at_encoders(self) -> None:
        """What pretuned encoders know of the rows: which modalities to distrust, and whether to trust validation."""
        found = pretuned(self.config, self.modalities)
        shares = {name: one.sketch.share_learnt(self.val_pairs) for name, one in found.items()}
        worst = max(shares, key=lambda name: shares[name], default=None)
        self.val_seen = worst is not None and shares[worst] > SEEN
        if worst is not None and shares[worst] > 0:
            share = f"{100 * shares[worst]:.1f} %"
            line = f"{worst} has learnt from {share} of the validation rows; it does better on them than on new ones"
            self._warn(line)
        for modality in self.modalities:
            for name in self.config.image.names if modality == "image" else self.config.text.networks:
                folder = folder_of(name)
                if facts_of(folder) and f"{modality}.model '{folder}'" not in found:
                    say(f"warning: {modality}.model '{folder}' does not say which rows it was tuned on; tune it anew")

    @staticmethod
    def require_modality(pairs: Pairs, modality: str) -> None:
        """Raise DataError where not a single row has that modality."""
        if not (pairs.has_image if modality == "image" else pairs.has_text).any():
            other = "text" if modality == "image" else "image"
            names = ", ".join(pairs.columns) or "id, image, text, label"
            raise DataError(
                f"{pairs.source}: no row has an {modality} (columns: {names}); "
                f"name its column with {setting(f'data.{modality}=COLUMN')}, "
                f"or use the {other} alone: {setting(f'model={other}')}".replace("an text", "a text")
            )

    def numbers(self, pairs: Pairs) -> Tensor:
        """(N,) int64 class number of each row. Raises DataError for a label that was never seen in training."""
        require_known_labels(pairs, self.labels)
        return torch.tensor([self._numbers[label] for label in require_labels(pairs)])

    def make_encoders(self) -> EncoderPair:
        """Load the encoders, fit them to the training texts, or tune them on the training rows, as configured.

        Tuning takes minutes, or hours; it is done once.
        """
        return self._encoders

    @cached_property
    def _encoders(self) -> EncoderPair:
        encoders = EncoderPair()
        config, store = self.config, self.store.folder if self.remember else None
        if "text" in self.modalities:
            texts = lambda: [text for text in self.train_pairs.texts if text is not None]  # noqa: E731
            if not config.text.tune:
                warn_of_cleaning(config.text)
            tuned = self._tuned("text") if config.text.tune else None
            encoders.text = load_text_encoders(config.text, texts, self.device, config.seed, tuned, store)
        if "image" in self.modalities:
            first, *others = self.images
            if first.tune or not first.pretrained:
                # The folder's own preprocessing has the size that it is best used at.
                first = first.model_copy(update={"model": f"{LOCAL}{self._tuned('image')}", "size": None})
            encoders.image = kept_image_encoder([first, *others], self.device, store)
        return encoders

    def scored(self, scores: Mapping[int, Tensor]) -> EncoderPair:
        """The encoders with the linear classifiers on their wide features, made once."""
        key = tuple((number, id(weights)) for number, weights in scores.items())
        if key not in self._scored:
            self._scored[key] = (scores, self.make_encoders().with_scores(scores))
        return self._scored[key][1]

    @cached_property
    def tuner(self) -> Tuner:
        """What tunes encoders on the training rows."""
        config = self.config.model_copy(update={"image": self.images[0]})
        return Tuner(self.train_pairs, self.val_pairs, self.labels, config, self.device, self.tally)

    @cached_property
    def seen(self) -> frozenset[str]:
        """Modalities whose encoder has learnt from these training rows and their labels, now or in a tuning before."""
        config = self.config
        found = {"image": config.image.tune or not config.image.pretrained, "text": config.text.tune}
        for one in pretuned(config, self.modalities).values():
            found[one.modality] = found[one.modality] or one.sketch.share_learnt(self.train_pairs) > SEEN
        return frozenset(modality for modality in self.modalities if found[modality])

    def sketches(self, encoders: EncoderPair, jointly: Collection[str] = ()) -> dict[str, Sketch]:
        """What a run of these encoders and a head on top has seen, by folder: ``""`` is the run itself.

        Args:
            jointly: modalities whose network was trained together with the head.
        """
        parts: list[tuple[str, str, ImageEncoder | TextEncoder]] = [
            ("image", folder, encoder) for folder, encoder in by_folder(encoders.image).items()
        ]
        parts += [("text", f"text-{i}", encoder) for i, encoder in enumerate(encoders.text)]
        found = {}
        whole = Sketch.of(self.train_pairs, [self.val_pairs], encoders.modalities)
        for modality, folder, encoder in parts:
            if encoder.name in TFIDF:
                continue
            sketch = Sketch.load(folder_of(encoder.name))
            if modality in jointly:
                sketch = (sketch or Sketch()) | Sketch.of(self.train_pairs, [self.val_pairs], [modality])
            if sketch is not None:
                found[folder] = sketch
                whole |= sketch
        return {"": whole, **found}

    def inputs_of(self, pairs: Pairs, encoders: EncoderPair | None = None) -> HeadInputs:
        """Features of some rows; problems and seconds are added to this preparation.

        Args:
            encoders: None for this preparation's own.
        """
        found = encode(encoders or self.make_encoders(), pairs, self.config.image, self.store, self.tally)
        for modality, features in found.items():
            key = f"encode_{modality}"
            self.seconds[key] = self.seconds.get(key, 0.0) + features.seconds
            self.encoded += features.encoded
        return to_inputs(found)

    def task(self) -> Task:
        """Everything heads are fitted to."""
        self._look_at_rows()
        (groups,) = groups_of([self.train_pairs], self.config.data.group)
        fold = torch.from_numpy(folds(self.train_pairs, groups, self.config.head.folds, self.config.seed))
        return Task(
            train=self.inputs_of(self.train_pairs),
            targets=self.numbers(self.train_pairs),
            folds=fold,
            val=self.inputs_of(self.val_pairs),
            val_targets=self.numbers(self.val_pairs),
            classes=len(self.labels),
            seen=self.seen,
            val_seen=self.val_seen,
            class_vectors=self._class_vectors() if EARLY[self.config.head.early].reads_class_names else None,
            parts=self._parts(),
            sparse=self._sparse(),
            # Validation rows choose how to fill in texts after heads are fitted.
            val_drawn=self.val_drawn and self.config.text.fill is None,
            kept=KeptHeads(self.store.folder / "heads"),
            own=own_classifiers(self.make_encoders(), self.labels),
        )

    def _parts(self) -> dict[str, tuple[Part, ...]]:
        """The columns of each modality by encoder."""
        encoders = self.make_encoders()
        found = {
            modality: tuple(Part(self._called(modality, encoder), encoder.dim) for encoder in some)
            for modality, some in (("image", encoders.images), ("text", encoders.text))
        }
        return {modality: parts for modality, parts in found.items() if parts}

    def _called(self, modality: str, encoder: ImageEncoder | TextEncoder) -> str:
        """What people know an encoder by: its name, or that of the network it was tuned from here."""
        if folder_of(encoder.name).parent != self.store.folder / "encoders":
            return encoder.name
        return f"tuned {self.images[0].model if modality == 'image' else self.config.text.networks[0]}"

    def _sparse(self) -> dict[int, SparseRows]:
        """The whole TF-IDF matrices, which linear heads read instead of their leading components."""
        if self.config.head.kind != "linear":
            return {}
        train, val = self.train_pairs.texts, self.val_pairs.texts
        return {
            i: SparseRows(encoder.matrix(train), encoder.matrix(val))
            for i, encoder in enumerate(self.make_encoders().text)
            if isinstance(encoder, TfidfEncoder)
        }

    def _class_vectors(self) -> Tensor | None:
        """(K, D) embeddings of the class names by the text encoders; None without any."""
        if not self.make_encoders().text:
            return None
        names = [label.replace("_", " ") for label in self.labels]
        return torch.cat([torch.as_tensor(encoder.encode(names)) for encoder in self.make_encoders().text], dim=1)

    def _tuned(self, modality: str) -> Path:
        """The folder of an encoder tuned on the training rows; the same rows, settings and seed tune it only once."""
        folder = self.store.folder / "encoders" / self.tuner.key(modality)
        if not (folder / FACTS).is_file():
            facts = self.tuner.tune(modality, folder, overwrite=True)
            self.seconds[f"tune_{modality}"] = facts["seconds"]
        self.curves[modality] = facts_of(folder)["curve"]
        return folder
