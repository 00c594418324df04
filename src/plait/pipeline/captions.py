"""`plait tune caption` and `plait caption`: from pairs to a captioner, and from images to texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait import __version__
from plait.captions.decoder import Decoder, DecoderCaptioner, DecoderSpec, tokenizer_of
from plait.captions.folder import Captioner, captions_of
from plait.captions.pretrained import PretrainedCaptioner
from plait.captions.score import score
from plait.config import Config
from plait.data.images import content_hash, open_image
from plait.data.pairs import Pairs
from plait.data.partition import Partition
from plait.data.sketch import Sketch
from plait.data.unreadable import Tally
from plait.devices import pick_device
from plait.encoders.image import load_image_encoder
from plait.errors import DataError, setting
from plait.features.encode import encode_images
from plait.features.sizing import sized
from plait.features.store import FeatureStore
from plait.progress import say
from plait.training.captions import DecoderPupil, Lessons, PretrainedPupil, Taught, teach
from plait.training.encoders.folder import Training, key_of
from plait.training.seeds import seeded

DECODER = "decoder"
EPOCHS = {True: 24, False: 8}  # of a decoder, of a GIT or BLIP
LR = {True: 1e-3, False: 1e-5}
LORA_LR = 1e-4
LEAST = 10  # rows with an image and a text


def tune_caption(parts: Partition, config: Config, folder: Path, overwrite: bool = False) -> dict[str, Any]:
    """Train a captioner on the rows that have an image and a text, into a folder, going on with an unfinished training.

    Returns:
        What ``tuning.json`` in the folder says: ``curve``, ``cider``, ``distinct``, ``collapsed`` of the validation
        rows, ``test`` of the test rows where there are any, ``rows``, ``seconds``.

    Raises:
        RunError: the folder is not free. DataError: too few rows with both. EncoderError, ConfigError: see
            `load_captioner`, `score`.
    """
    school = _School(parts, config)
    training = Training(folder, school.key, overwrite)
    taught = school.teach(training.checkpoint)
    facts = {
        "plait": __version__,
        "model": config.caption.model,
        "rows": {"train": len(school.train), "val": len(school.val)},
        "curve": taught.curve,
        "cider": taught.score.cider,
        "distinct": taught.score.distinct,
        "collapsed": taught.score.collapsed,
        "seconds": round(taught.seconds, 3),
        **school.tested(),
    }
    seen = Sketch.of(school.train, [school.val], ["image", "text"])
    training.finish(school.captioner.save, facts, seen)
    return facts


@dataclass
class _School:
    """The rows that have both, and the captioner that learns from them."""

    parts: Partition
    config: Config
    tally: Tally = field(init=False)

    def __post_init__(self) -> None:
        self.tally = Tally(self.config.data.strict)
        self.device = pick_device(self.config.device)
        self.train, self.val = (self._both(pairs) for pairs in (self.parts.train, self.parts.val))
        for pairs, which in ((self.train, "training"), (self.val, "validation")):
            if len(pairs) < LEAST:
                raise DataError(
                    f"{self.parts.train.source}: {len(pairs)} {which} rows have both an image and a text, fewer than "
                    f"{LEAST}; name the columns with {setting('data.image=COLUMN')} and {setting('data.text=COLUMN')}, "
                    "or give more rows"
                )
        rows = np.linspace(0, len(self.val) - 1, min(len(self.val), self.config.caption.check_rows)).round()
        self.judged = self.val.select(np.unique(rows.astype(np.int64)))

    def _both(self, pairs: Pairs) -> Pairs:
        """The rows that have an image that can be read, and a text."""
        some = pairs.select(np.flatnonzero(pairs.has_image & pairs.has_text))
        return some.select(np.flatnonzero(self._features(some)[1])) if self.from_scratch and len(some) else some

    @property
    def from_scratch(self) -> bool:
        return self.config.caption.model == DECODER

    @property
    def key(self) -> str:
        """What names the training: settings that matter, and every row's image and text."""
        settings: list[Any] = ["caption", self.config.caption.model_dump(exclude={"check_rows"}), self.config.seed]
        if self.from_scratch:
            settings.append(self._encoder.fingerprint)
        hashes = [value for pairs in (self.train, self.val) for value in pairs.image_hashes[0]]
        texts = [content_hash((text or "").encode()) for pairs in (self.train, self.val) for text in pairs.texts]
        return key_of(settings, [*hashes, *texts])

    @cached_property
    def _encoder(self) -> Any:
        return load_image_encoder(sized(self.config.image.members[0], self.parts.train), self.device)

    def _features(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Features (N, D) and which images could be read, (N,) bool."""
        image = self.config.image
        found = encode_images(self._encoder, pairs, FeatureStore(self.config.store), image.batch, image.workers)
        self.tally.report(pairs, found.problems, len(pairs))
        return found.vectors, found.present

    @cached_property
    def captioner(self) -> DecoderCaptioner | PretrainedCaptioner:
        options = self.config.caption
        if not self.from_scratch:
            return PretrainedCaptioner.load(options.model, options.max_tokens, self.device)
        tokenizer = tokenizer_of([text or "" for text in self.train.texts], options.vocabulary)
        spec = DecoderSpec(
            self._encoder.dim, tokenizer.get_vocab_size(), options.width, options.layers, options.max_tokens,
            options.dropout,
        )  # fmt: skip
        with seeded(self.config.seed):
            return DecoderCaptioner(self._encoder, Decoder(spec).to(self.device), tokenizer)

    def teach(self, checkpoint: Path) -> Taught:
        options, captioner = self.config.caption, self.captioner
        texts, judged = ([text or "" for text in pairs.texts] for pairs in (self.train, self.judged))
        lr = options.lr or (LORA_LR if options.lora and not self.from_scratch else LR[self.from_scratch])
        epochs = options.epochs or EPOCHS[self.from_scratch]
        silent = epochs * 2 // 3 if self.from_scratch else 0
        lessons = Lessons(options, epochs, lr, judged, self.config.seed, checkpoint, silent)
        if isinstance(captioner, DecoderCaptioner):
            features = torch.from_numpy(self._features(self.train)[0])
            return teach(DecoderPupil(captioner, features, texts, self._features(self.judged)[0], options), lessons)
        if options.lora:
            with seeded(self.config.seed):
                captioner.adapt(options.lora)
        opened = [_opener(pairs) for pairs in (self.train, self.judged)]
        found = teach(PretrainedPupil(captioner, opened[0], texts, opened[1], len(judged)), lessons)
        captioner.merge()
        return found

    def tested(self) -> dict[str, Any]:
        """How good the captions of the test rows are, where there are any with both."""
        if self.parts.test is None:
            return {}
        test = self._both(self.parts.test)
        if not len(test):
            return {}
        found = captions_of(self.captioner, test, range(len(test)))
        known = [(caption, text) for caption, text in zip(found, test.texts, strict=True) if caption and text]
        if not known:
            return {}
        result = score([caption for caption, _ in known], [text for _, text in known])
        return {"test": {"rows": len(known), "cider": result.cider, "distinct": result.distinct}}


def _opener(pairs: Pairs) -> Any:
    """What opens the image of a row; one that cannot be read is grey."""
    from PIL import Image

    def opened(row: int) -> Any:
        (ref,) = pairs.images([row])
        try:
            assert ref is not None
            return open_image(ref.load())
        except (OSError, ValueError):
            return Image.new("RGB", (64, 64), (128, 128, 128))

    return opened


def captioned(captioner: Captioner, pairs: Pairs, strict: bool = False) -> list[dict[str, Any]]:
    """One dict a row, in order: ``id``, ``caption`` (None without an image that can be read), and ``text`` it has.

    Raises:
        DataError: no row has an image; with `strict`, an image cannot be read.
    """
    if not pairs.has_image.any():
        raise DataError(f"{pairs.source}: no row has an image; name its column with {setting('data.image=COLUMN')}")
    tally = Tally(strict)
    tally.look(pairs)
    found = captions_of(captioner, pairs, range(len(pairs)), tally)
    if silent := sum(one is None for one in found):
        say(f"{silent:,} of {len(pairs):,} rows have no caption: no image, or none that can be read")
    rows = zip(pairs.ids, found, pairs.texts, strict=True)
    return [{"id": key, "caption": caption, "text": text} for key, caption, text in rows]
