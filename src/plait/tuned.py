"""Encoders tuned on the training rows: trained once for each set of rows, settings and seed, into a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plait import __version__
from plait.config import Config, TextConfig
from plait.data.check import require_known_labels, require_labels
from plait.data.pairs import DECODING, Pairs, content_hash
from plait.data.text_pairs import TextPairs
from plait.devices import pick_device
from plait.encoders.image import save_timm
from plait.errors import and_more
from plait.loop import Curve
from plait.problems import Tally
from plait.progress import say
from plait.tuning.folder import Training, facts_of, key_of, sketch
from plait.tuning.text_model import of_network

# Keys that do not change what is trained.
ENCODING = {"batch", "workers", "precision", "static", "tfidf_dim", "tfidf_terms"}


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

    def key(self, strand: str) -> str:
        """What names a training: settings that matter, seed, and every row's content and label."""
        image, text = self.config.image, self.config.text
        section, model = (image, image.model) if strand == "image" else (text, "+".join(text.networks))
        settings = [
            strand,
            section.model_dump(exclude=ENCODING) | {"model": model},
            self.config.seed,
            self.labels,
            DECODING,
        ]
        hashes = [value for pairs in (self.train, self.val) for value in _hashes(pairs, strand)]
        labels = [content_hash((label or "").encode()) for pairs in (self.train, self.val) for label in pairs.labels]
        return key_of(settings, [*hashes, *labels])

    def tune(self, strand: str, folder: Path, overwrite: bool = False) -> dict[str, Any]:
        """Train the encoder of a strand into a folder, going on with an unfinished training.

        Returns:
            What ``tuning.json`` in the folder says: ``curve``, ``seconds``, ``labels`` and more.

        Raises:
            RunError: the folder is not free. DataError: most images cannot be read. DataError, EncoderError,
                ConfigError: see `tune_image`, `tune_text`.
        """
        training = Training(folder, self.key(strand), overwrite)
        self._warn_of_missing_classes()
        train = self._image if strand == "image" else self._text
        write, curve, seconds = train(training.checkpoint)
        facts = _facts(strand, seconds, (len(self.train), len(self.val)), curve)
        facts |= {"labels": self.labels, "seen": sketch(_hashes(self.train, strand))}
        if strand == "text":
            facts["clean"] = self.config.text.clean
        training.finish(write, facts)
        return facts

    def _image(self, checkpoint: Path) -> tuple[Any, Curve, float]:
        from plait.tuning.image import tune_image
        from plait.tuning.images import Rows, unreadable

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
        return lambda to: save_timm(tuned.model, tuned.settings, to, self.labels), tuned.curve, tuned.seconds

    def _text(self, checkpoint: Path) -> tuple[Any, Curve, float]:
        from plait.tuning.text import tune_text

        tuned = tune_text(
            (self.train.texts, self.targets(self.train)),
            (self.val.texts, self.targets(self.val)),
            len(self.labels),
            self.config.text,
            seed=self.config.seed,
            device=self.device,
            checkpoint=checkpoint,
        )
        return tuned.encoder.save, tuned.curve, tuned.seconds

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
    from plait.tuning.text_pairs import tune_text_pairs

    section = of_network(config.text)
    settings = ["text pairs", section.model_dump(exclude=ENCODING), config.seed]
    texts = [text for pairs in (train, val) for text in (*pairs.left, *pairs.right, str(pairs.scores.tolist()))]
    training = Training(folder, key_of(settings, _text_hashes(texts)), overwrite)
    tuned = tune_text_pairs(
        train, val, section, seed=config.seed, device=pick_device(config.device), checkpoint=training.checkpoint
    )
    facts = _facts("text", tuned.seconds, (len(train), len(val)), tuned.curve)
    training.finish(tuned.encoder.save, facts)
    return facts


def distil_text(
    train: list[str], val: list[str], config: Config, folder: Path, overwrite: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Distil the network of ``config.text.model`` into static vectors of words, into a folder.

    Returns:
        What ``tuning.json`` in the folder says; of rows with labels it has seen what its teacher has seen.

    Raises:
        RunError: the folder is not free. EncoderError, ConfigError: see `distil`.
    """
    from plait.encoders.text import load_sentence_encoder
    from plait.tuning.static import distil

    section = of_network(config.text)
    settings = ["static", section.model_dump(exclude={"batch", "tfidf_dim", "tfidf_terms"}), config.seed]
    training = Training(folder, key_of(settings, _text_hashes([*train, *val])), overwrite)
    distilled = distil(load_sentence_encoder(section.model, section), train, val, section, config.seed)
    facts = _facts("text", distilled.seconds, (len(train), len(val)), distilled.curve)
    facts |= {"seen": facts_of(Path(section.model)).get("seen", []), "clean": section.clean}
    training.finish(distilled.encoder.save, facts)
    return facts


def warn_of_cleaning(config: TextConfig) -> None:
    """Say so where an encoder of plait's was trained on texts that were cleaned and would read ones that are not."""
    for name in config.names:
        clean = facts_of(Path(name)).get("clean", config.clean)
        if clean != config.clean:
            how = "cleaned" if clean else "not cleaned"
            say(f"warning: '{name}' was trained on texts that were {how}; --set text.clean={str(clean).lower()}")


def _facts(strand: str, seconds: float, rows: tuple[int, int], curve: Curve) -> dict[str, Any]:
    """What `Training.finish` notes of every encoder."""
    return {
        "plait": __version__,
        "strand": strand,
        "seconds": round(seconds, 3),
        "rows": {"train": rows[0], "val": rows[1]},
        "curve": curve,
    }


def _text_hashes(texts: list[str]) -> list[bytes]:
    return [content_hash(text.encode()) for text in texts]


def _hashes(pairs: Pairs, strand: str) -> list[bytes | None]:
    return pairs.image_hashes[0] if strand == "image" else pairs.text_hashes
