"""Texts whose class is in the order of two words, and encoders tuned on them."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor

from plait.config import TextConfig, configure
from plait.encoders.text import SentenceEncoder
from plait.training.encoders.text import TunedText, tune_text

OTHERS = ["dish", "soup", "bowl", "row", "number", "fresh", "with", "and"]
Labelled = tuple[list[str | None], Tensor]


def ordered(pairs: int, seed: int) -> Labelled:
    """Two texts a pair, of the same words: class 0 has red before green, class 1 after."""
    draw, texts = random.Random(seed), []
    for _ in range(pairs):
        a, b, c = (draw.choices(OTHERS, k=draw.randint(0, 2)) for _ in range(3))
        texts += [" ".join([*a, one, *b, other, *c]) for one, other in (("red", "green"), ("green", "red"))]
    return list(texts), torch.tensor([0, 1] * pairs)


TRAIN, VAL, FEW = ordered(300, 0), ordered(60, 1), ordered(40, 2)


PLAIN = ("angle.cosine=0", "angle.in_batch=0", "angle.angle=0", "per_class=1", "batch=32")  # cross-entropy alone


EXACT = "text.train.precision=32"  # the same on every machine


def settings(folder: Path | str, *train: str) -> TextConfig:
    return configure(overrides=[f"text.model={folder}", EXACT, *(f"text.train.{one}" for one in train)]).text


def tune(folder: Path | str, *train: str, rows: Labelled = FEW, seed: int = 0) -> TunedText:
    return tune_text(rows, VAL, 2, settings(folder, *PLAIN, *train), seed=seed)


def weights(encoder: SentenceEncoder) -> dict[str, Tensor]:
    return dict(encoder.model.state_dict())


def changed(one: SentenceEncoder, other: SentenceEncoder) -> set[str]:
    """Names of the weights that are not the same to the bit."""
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return {name for name in left if not torch.equal(left[name], right[name])}
