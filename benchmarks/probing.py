"""Accuracy of a linear head on the features of a text encoder: what the benchmarks of text encoders share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from plait.config import Config
from plait.data.read import read_as
from plait.encoders.text import SentenceEncoder, load_sentence_encoder
from plait.pipeline.prepare import Preparation
from plait.training.encoders.probe import fit_probe
from plait.training.encoders.text_model import of_network
from plait.training.seeds import seeded


@dataclass(frozen=True)
class Texts:
    """N texts and their (N,) classes."""

    texts: list[str | None]
    targets: Tensor

    @property
    def filled(self) -> list[str]:
        """A text for every row, empty where it has none."""
        return [text or "" for text in self.texts]


@dataclass(frozen=True)
class Tables:
    """Rows to train on, to choose epochs on and to test on."""

    train: Texts
    val: Texts
    test: Texts
    classes: int


def read_tables(train: str, test: str, config: Config, rows: int | None = None) -> Tables:
    """Read both tables and hold validation rows out of the first, of which no more than ``rows`` are drawn."""
    pairs, unseen = read_as(train, config), read_as(test, config)
    if rows:
        pairs = pairs.select(np.sort(np.random.default_rng(0).permutation(len(pairs))[:rows]))
    tuner = Preparation(pairs, config, ("text",)).tuner
    parts = [Texts(one.texts, tuner.targets(one)) for one in (tuner.train, tuner.val, unseen)]
    return Tables(parts[0], parts[1], parts[2], len(tuner.labels))


def open_network(config: Config) -> SentenceEncoder:
    """The network of ``text.model``, without what TF-IDF knows beside it."""
    section = of_network(config.text)
    return load_sentence_encoder(section.model, section)


def probe(encoder: SentenceEncoder, tables: Tables, seed: int = 0) -> float:
    """Test accuracy, 0 to 1, of a linear head trained on the features of the training texts."""
    features, unseen = (encoder.encode(part.filled) for part in (tables.train, tables.test))
    answers = probabilities(features, unseen, tables, seed).argmax(1)
    return float((answers == tables.test.targets.numpy()).mean())


def probabilities(features: np.ndarray, unseen: np.ndarray, tables: Tables, seed: int = 0) -> np.ndarray:
    """(N, K) answers to N test rows of a linear head trained on features (M, D) of the training texts."""
    head = nn.Linear(features.shape[1], tables.classes)
    with seeded(seed):
        fit_probe(head, torch.from_numpy(features), tables.train.targets, label_smoothing=0.1)
    with torch.inference_mode():
        return np.asarray(head(torch.from_numpy(unseen)).softmax(1))
