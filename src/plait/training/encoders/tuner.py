"""Encoders tuned on the training rows: trained once for each set of rows, settings and seed, into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait import __version__
from plait.config import Config, TextConfig
from plait.data.checks import require_known_labels, require_labels
from plait.data.images import DECODING, content_hash
from plait.data.pairs import Pairs
from plait.data.partition import Learnt
from plait.data.sketch import Sketch
from plait.data.text_pairs import TextPairs
from plait.data.unreadable import Tally
from plait.devices import pick_device
from plait.encoders.image import folder_of, save_timm
from plait.errors import DataError, and_more, setting
from plait.fusion.modality import MODALITIES
from plait.fusion.spec import modalities_of
from plait.progress import say
from plait.training.encoders.folder import Training, facts_of, key_of
from plait.training.seeds import Curve

# Keys that do not change what is trained.
ENCODING = {"batch", "workers", "precision", "static", "tfidf_dim", "tfidf_terms", "fill"}


@dataclass(frozen=True)
class Tuner:
    """Trains one encoder at a time on labelled rows.

    Args:
        train: rows to learn from. val: rows that choose the best epoch.
        labels: (K,) class names in order.
        config: ``image``, ``text`` and ``seed`` are used.
        device: where.
        tally: what names unreadable images.
    """

    train: Pairs
    val: Pairs
    labels: list[str]
    config: Config
    device: torch.device | str
    tally: Tally = field(default_factory=Tally)

    def targets(self, pairs: Pairs) -> Tensor:
        """(N,) int64 class number of each row. Raises DataError for a label that no training row has."""
        require_known_labels(pairs, self.labels)
        number = {label: i for i, label in enumerate(self.labels)}
        return torch.tensor([number[label] for label in require_labels(pairs)])

    def key(self, modality: str) -> str:
        """What names a training: settings that matter, seed, and every row's content and label."""
        image, text = self.config.image, self.config.text
        section, model = (image, image.model) if modality == "image" else (text, "+".join(text.networks))
        settings = [
            modality,
            section.model_dump(exclude=ENCODING) | {"model": model},
            self.config.seed,
            self.labels,
            DECODING,
        ]
        hashes = [value for pairs in (self.train, self.val) for value in _hashes(pairs, modality)]
        labels = [content_hash((label or "").encode()) for pairs in (self.train, self.val) for label in pairs.labels]
        return key_of(settings, [*hashes, *labels])

    def tune(self, modality: str, folder: Path, overwrite: bool = False) -> dict[str, Any]:
        """Train the encoder of a modality into a folder, going on with an unfinished training.

        Returns:
            What ``tuning.json`` in the folder says: ``curve``, ``seconds``, ``labels`` and more.

        Raises:
            RunError: the folder is not free. DataError: most images cannot be read. DataError, EncoderError,
                ConfigError: see `tune_image`, `tune_text`.
        """
        training = Training(folder, self.key(modality), overwrite)
        self._warn_of_missing_classes()
        train = self._image if modality == "image" else self._text
        write, curve, seconds, more = train(training.checkpoint)
        facts = _facts(modality, seconds, (len(self.train), len(self.val)), curve)
        facts |= {"labels": self.labels, **more}
        if modality == "text":
            facts["clean"] = self.config.text.clean
        seen = Sketch.of(self.train, [self.val], [modality])
        for start in pretuned(self.config, (modality,)).values():
            seen |= start.sketch
        training.finish(write, facts, seen)
        return facts

    def _image(self, checkpoint: Path) -> tuple[Any, Curve, float, dict[str, Any]]:
        from plait.training.encoders.image import tune_image
        from plait.training.encoders.images import Rows, unreadable

        for pairs in (self.train, self.val):
            self.tally.look(pairs)
            problems = unreadable(pairs, self.config.image.workers)
            self.tally.report(pairs, problems, int(pairs.has_image.sum()))
        tuned = tune_image(
            Rows(self.train, self.targets(self.train)),
            Rows(self.val, self.targets(self.val)),
            len(self.labels),
            self.config.image,
            seed=self.config.seed,
            device=self.device,
            checkpoint=checkpoint,
        )
        sides = {"tuned_at": tuned.side, "used_at": int(tuned.settings["input_size"][-1])}
        return lambda to: save_timm(tuned.model, tuned.settings, to, self.labels), tuned.curve, tuned.seconds, sides

    def _text(self, checkpoint: Path) -> tuple[Any, Curve, float, dict[str, Any]]:
        from plait.training.encoders.text import tune_text

        tuned = tune_text(
            (self.train.texts, self.targets(self.train)),
            (self.val.texts, self.targets(self.val)),
            len(self.labels),
            self.config.text,
            seed=self.config.seed,
            device=self.device,
            checkpoint=checkpoint,
        )
        return tuned.encoder.save, tuned.curve, tuned.seconds, {}

    def _warn_of_missing_classes(self) -> None:
        if missing := sorted(set(self.labels) - {label for label in self.val.labels if label is not None}):
            names = and_more([f"'{name}'" for name in missing])
            say(f"warning: no validation row of {len(missing)} of {len(self.labels)} classes: {names}")


def tune_on_text_pairs(
    train: TextPairs, val: TextPairs, config: Config, folder: Path, overwrite: bool = False
) -> dict[str, Any]:
    """Train the text encoder on pairs of texts into a folder, going on with an unfinished training.

    Returns:
        What ``tuning.json`` in the folder says.

    Raises:
        RunError: the folder is not free. EncoderError, ConfigError: see `tune_text_pairs`.
    """
    from plait.training.encoders.text_model import of_network
    from plait.training.encoders.text_pairs import tune_text_pairs

    section = of_network(config.text)
    settings = ["text pairs", section.model_dump(exclude=ENCODING), config.seed]
    texts = [text for pairs in (train, val) for text in (*pairs.left, *pairs.right, str(pairs.scores.tolist()))]
    training = Training(folder, key_of(settings, _text_hashes(texts)), overwrite)
    tuned = tune_text_pairs(
        train, val, section, seed=config.seed, device=pick_device(config.device), checkpoint=training.checkpoint
    )
    facts = _facts("text", tuned.seconds, (len(train), len(val)), tuned.curve)
    seen = Sketch.of_texts([*train.left, *train.right], [*val.left, *val.right])
    training.finish(tuned.encoder.save, facts, seen | (Sketch.load(Path(section.model)) or Sketch()))
    return facts


def distil_text(train: Pairs, val: Pairs, config: Config, folder: Path, overwrite: bool = False) -> dict[str, Any]:
    """Distil the network of ``config.text.model`` into static vectors of words, into a folder.

    Returns:
        What ``tuning.json`` in the folder says. The folder has seen what its teacher has, and met these rows' texts.

    Raises:
        RunError: the folder is not free. DataError: no texts. EncoderError, ConfigError: see `distil`.
    """
    from plait.encoders.text import load_sentence_encoder
    from plait.training.encoders.static import distil
    from plait.training.encoders.text_model import of_network

    section = of_network(config.text)
    settings = ["static", section.model_dump(exclude={"batch", "tfidf_dim", "tfidf_terms", "fill"}), config.seed]
    texts = [[text for text in pairs.texts if text is not None] for pairs in (train, val)]
    for pairs, said in zip((train, val), texts, strict=True):
        if not said:
            raise DataError(f"{pairs.source}: no row has a text; name its column with {setting('data.text=COLUMN')}")
    training = Training(folder, key_of(settings, _text_hashes([*texts[0], *texts[1]])), overwrite)
    distilled = distil(load_sentence_encoder(section.model, section), texts[0], texts[1], section, config.seed)
    facts = _facts("text", distilled.seconds, (len(texts[0]), len(texts[1])), distilled.curve)
    seen = Sketch.of(None, [train, val], ["text"]) | (Sketch.load(Path(section.model)) or Sketch())
    training.finish(distilled.encoder.save, facts | {"clean": section.clean}, seen)
    return facts


@dataclass(frozen=True)
class Pretuned:
    """An encoder that came tuned: its modality, and the rows it has seen."""

    modality: str
    sketch: Sketch


def pretuned(config: Config, modalities: Sequence[str]) -> dict[str, Pretuned]:
    """Encoders of a configuration that plait tuned earlier, by what to call them: ``text.model 'tuned'``."""
    # Of a network that is not pretrained only the architecture is used.
    names = {"image": config.image.names[0 if config.image.pretrained else 1 :], "text": config.text.networks}
    found = {}
    for modality in modalities:
        for name in names[modality]:
            folder = folder_of(name)
            if (sketch := Sketch.load(folder)) is not None:
                found[f"{modality}.model '{folder}'"] = Pretuned(modality, sketch)
    return found


def learnt_by(config: Config, modalities: Sequence[str]) -> Learnt | None:
    """What `divide` asks of pretuned encoders: which rows they have learnt from; None without any."""
    sketches = [one.sketch for one in pretuned(config, modalities).values()]
    if not sketches:
        return None
    return lambda pairs: np.any([sketch.learnt_from(pairs) for sketch in sketches], axis=0)


def modalities_to_fit(config: Config) -> tuple[str, ...]:
    """Modalities that a fit of ``config.model`` may read."""
    return MODALITIES if config.model == "auto" else modalities_of(config.model)


def warn_of_cleaning(config: TextConfig) -> None:
    """Say so where an encoder of plait's was trained on texts that were cleaned and would read ones that are not."""
    for name in config.names:
        clean = facts_of(Path(name)).get("clean", config.clean)
        if clean != config.clean:
            how = "cleaned" if clean else "not cleaned"
            say(
                f"warning: '{name}' was trained on texts that were {how}; {setting(f'text.clean={str(clean).lower()}')}"
            )


def _facts(modality: str, seconds: float, rows: tuple[int, int], curve: Curve) -> dict[str, Any]:
    """What `Training.finish` notes of every encoder."""
    return {
        "plait": __version__,
        "modality": modality,
        "seconds": round(seconds, 3),
        "rows": {"train": rows[0], "val": rows[1]},
        "curve": curve,
    }


def _text_hashes(texts: list[str]) -> list[bytes]:
    return [content_hash(text.encode()) for text in texts]


def _hashes(pairs: Pairs, modality: str) -> list[bytes | None]:
    return pairs.image_hashes[0] if modality == "image" else pairs.text_hashes
