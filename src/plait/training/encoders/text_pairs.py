"""A text encoder trained on pairs of texts with scores, or on triplets: AnglE's objectives without classes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.config import TextConfig, TextTrainConfig
from plait.data.text_pairs import TextPairs
from plait.encoders.text import SentenceEncoder
from plait.processes import gathered
from plait.training.encoders.text import TunedText
from plait.training.encoders.text_batches import Batches, at_random, in_order, shared
from plait.training.encoders.text_model import (
    TextTask,
    build_text_model,
    of_network,
    tokens_of,
    total_weight,
    train_text,
)
from plait.training.objectives.angle import mixture
from plait.training.seeds import seeded

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def tune_text_pairs(
    train: TextPairs, val: TextPairs, config: TextConfig, *,
    seed: int = 0, device: torch.device | str = "cpu", checkpoint: Path | None = None,
) -> TunedText:  # fmt: skip
    """Train the network of ``config.model`` on pairs of texts, as ``config.train`` says; no class plays a part.

    The epoch with the best Spearman correlation of cosine and score on the validation pairs is kept; ``val_loss`` in
    the curve is 1 less that correlation.

    Args:
        checkpoint: as in `tune_text`.

    Raises:
        ConfigError, EncoderError: as `plait.training.encoders.text_model.build_text_model` does.
    """
    start, config = time.perf_counter(), of_network(config)
    options = config.train
    with seeded(seed):
        model = build_text_model(config)
        rows = [_Pairs(model, config, pairs) for pairs in (train, val)]
        task = _Task(model, rows, options, seed)
        encoder, curve = train_text(task, config, seed, device, checkpoint)
    return TunedText(encoder, curve, time.perf_counter() - start)


def spearman(model: SentenceEncoder, pairs: TextPairs) -> float:
    """Rank correlation, -1 to 1, of the cosine of two texts' vectors and their score: the measure of STS."""
    left, right = (torch.from_numpy(model.encode(texts)) for texts in (pairs.left, pairs.right))
    return _correlation(F.cosine_similarity(left, right), torch.from_numpy(pairs.scores))


def _correlation(found: Tensor, scores: Tensor) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(found.cpu().float().numpy(), scores.cpu().numpy()).statistic)


class _Pairs:
    """Tokenised pairs."""

    def __init__(self, model: SentenceTransformer, config: TextConfig, pairs: TextPairs):
        self.tokens = tokens_of(model, config, [*pairs.left, *pairs.right])
        self.scores, self.batch = torch.from_numpy(pairs.scores), config.train.batch
        lengths, count = self.tokens.lengths, len(pairs)
        self.lengths = [max(lengths[i], lengths[count + i]) for i in range(count)]

    def batches(self, order: Batches) -> Iterator[tuple[list[dict[str, Any]], Tensor, Tensor]]:
        """Texts in parts; where among them left and right ones are, (2, P); scores."""
        count = len(self.lengths)
        for rows in order:
            parts, texts = self.tokens.parts([*rows, *(count + row for row in rows)])
            place = {text: i for i, text in enumerate(texts)}
            yield parts, torch.tensor([[place[row], place[count + row]] for row in rows]).T, self.scores[rows]


class _Loader:
    def __init__(self, pairs: _Pairs, order: Batches):
        self.pairs, self.order = pairs, order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[list[dict[str, Any]], Tensor, Tensor]]:
        return self.pairs.batches(self.order)


class _Task(TextTask):
    def __init__(self, model: SentenceTransformer, rows: list[_Pairs], options: TextTrainConfig, seed: int):
        super().__init__(model, options, seed, [])
        self.train_pairs, self.val_pairs = rows
        self.total = total_weight(options, classes=False)
        self.found: list[tuple[Tensor, Tensor]] = []

    @property
    def steps(self) -> int:
        return self.options.epochs * math.ceil(len(self.train_pairs.lengths) / self.options.batch)

    def train_dataloader(self) -> _Loader:
        pairs = self.train_pairs
        return _Loader(pairs, shared(at_random(pairs.lengths, pairs.batch, self.generator())))

    def val_dataloader(self) -> _Loader:
        return _Loader(self.val_pairs, shared(in_order(self.val_pairs.lengths, self.val_pairs.batch)))

    def training_step(self, batch: Any, _: int) -> Tensor:
        parts, (left, right), scores = batch
        vectors = self.vectors(parts)
        loss = mixture(vectors[left], vectors[right], scores, self.options.angle) / self.total
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(scores))
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        parts, (left, right), scores = batch
        if not len(scores):
            return
        vectors = self.vectors(parts)
        self.found.append((F.cosine_similarity(vectors[left], vectors[right]), scores))

    def on_validation_epoch_end(self) -> None:
        found = [part for parts in gathered([(one.cpu(), other.cpu()) for one, other in self.found]) for part in parts]
        cosines, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        self.found = []
        correlation = _correlation(cosines, scores)
        self.log("val_spearman", correlation)
        self.log("val_loss", 1 - correlation)
