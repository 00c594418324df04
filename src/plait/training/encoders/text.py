"""A text encoder trained on texts with classes: AnglE's objectives, and a linear classifier that is thrown away after.

Two towers: the encoder as it is, fine-tuned; or the token vectors of its transformer through a bidirectional LSTM, as
Gallo et al. (2020), "Image and Text fusion for UPMC Food-101 using BERT and CNNs", do it with a frozen BERT.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.config import TextConfig, TextTrainConfig
from plait.devices import in_32_bits
from plait.encoders.text import SentenceEncoder
from plait.errors import DataError, setting
from plait.processes import gathered
from plait.training.encoders.text_batches import Batches, ByClass, at_random, in_order, shared
from plait.training.encoders.text_model import (
    TextTask,
    build_text_model,
    of_network,
    tokens_of,
    total_weight,
    train_text,
)
from plait.training.encoders.tokens import Tokens
from plait.training.loop import Judged
from plait.training.objectives.angle import mixture_of_classes
from plait.training.seeds import Curve, seeded

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Labelled = tuple[list[str | None], Tensor]


@dataclass(frozen=True)
class TunedText:
    """A text encoder, its learning curve and the wall seconds it took.

    Attributes:
        skipped: rows, of those to train on and those to validate on, that have no text and were left out.
    """

    encoder: SentenceEncoder
    curve: Curve
    seconds: float
    skipped: int = 0


def tune_text(
    data: Labelled, val: Labelled, classes: int, config: TextConfig, *,
    seed: int = 0, device: torch.device | str = "cpu", checkpoint: Path | None = None,
) -> TunedText:  # fmt: skip
    """Train the network of ``config.model`` on the rows that have a text, as ``config.train`` says.

    The tower ``lstm`` is the model's transformer, a bidirectional LSTM and the maximum over time: 2 ``lstm_hidden``
    dimensions. Learning rates rise for a tenth of the steps, then fall as a cosine. The epoch with the lowest
    validation loss is kept.

    Args:
        data: N texts (None or blank: without) and their (N,) int64 classes.
        val: the same of the rows that choose the best epoch.
        classes: K.
        checkpoint: file to go on from where it exists, and to write after every epoch; it must be of the same rows,
            configuration and seed. A training that was cut short then ends with the weights it would have had.

    Raises:
        ConfigError: a model that cannot be tuned, layers that it does not have, or nothing to train.
        EncoderError: the model cannot be had, or has no transformer.
        DataError: no row has a text.
    """
    start, config = time.perf_counter(), of_network(config)
    options = config.train
    labelled = [_with_text(*data, "training"), _with_text(*val, "validation")]
    with seeded(seed):
        model = build_text_model(config)
        rows = [_Rows(tokens_of(model, config, texts), targets) for texts, targets in labelled]
        task = _Task(model, rows, classes, options, seed)
        encoder, curve = train_text(task, config, seed, device, checkpoint)
    skipped = len(data[0]) + len(val[0]) - sum(len(texts) for texts, _ in labelled)
    return TunedText(encoder, curve, time.perf_counter() - start, skipped)


def _with_text(texts: list[str | None], targets: Tensor, what: str) -> tuple[list[str], Tensor]:
    kept = [(text, target) for text, target in zip(texts, targets.tolist(), strict=True) if text and text.strip()]
    if not kept:
        raise DataError(
            f"no {what} row has a text; train on images alone ({setting('model=image')}) or check data.text"
        )
    return [text for text, _ in kept], torch.tensor([target for _, target in kept])


@dataclass(frozen=True)
class _Rows:
    """N tokenised texts and their (N,) int64 classes."""

    tokens: Tokens
    targets: Tensor


class _Batches:
    """Batches of tokenised texts with the numbers of their rows."""

    def __init__(self, tokens: Tokens, order: Batches):
        self.tokens, self.order = tokens, order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[list[dict[str, Any]], Tensor]]:
        for rows in self.order:
            parts, order = self.tokens.parts(rows)
            yield parts, torch.tensor(order)


class _Task(TextTask):
    def __init__(
        self, model: SentenceTransformer, rows: list[_Rows], classes: int, options: TextTrainConfig, seed: int
    ):
        width = int(model.get_embedding_dimension() or 0)
        classifier = nn.Sequential(nn.Dropout(options.dropout), nn.Linear(width, classes))
        super().__init__(model, options, seed, [classifier])
        self.classifier = classifier
        self.train_rows, self.val_rows = rows
        self.total = total_weight(options, classes=True)
        # Entries of unit vectors are small, and a classifier of them would learn slowly.
        self.scale = math.sqrt(width) if type(model[-1]).__name__ == "Normalize" else 1.0
        # (class, taken for) and how often, in this epoch and in the one before: at most N entries each.
        self.judged = Judged()
        self.confused: Counter[tuple[int, int]] = Counter()
        self.before: Counter[tuple[int, int]] = Counter()

    def train_dataloader(self) -> _Batches:
        tokens, size = self.train_rows.tokens, self.options.batch
        if self.options.per_class == 1:
            return _Batches(tokens, shared(at_random(tokens.lengths, size, self.generator())))
        by_class = ByClass(self.train_rows.targets.tolist(), self.options.per_class, self.options.hard)
        near: dict[int, list[int]] = {}
        for (number, taken_for), count in sorted(self.before.items()):
            near.setdefault(number, []).extend([taken_for] * count)
        return _Batches(tokens, shared(by_class.batches(size, near, self.generator())))

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.confused = Counter()

    def on_train_epoch_end(self) -> None:
        # What to put together next must be the same in all processes.
        self.confused = sum(gathered(self.confused), Counter())
        self.before = self.confused

    def val_dataloader(self) -> _Batches:
        tokens = self.val_rows.tokens
        return _Batches(tokens, shared(in_order(tokens.lengths, self.options.batch)))

    @property
    def steps(self) -> int:
        return self.options.epochs * math.ceil(len(self.train_rows.targets) / self.options.batch)

    def logits(self, vectors: Tensor) -> Tensor:
        """(B, D) -> (B, K), in 32 bits. Where it has no weight the classifier learns without teaching the encoder."""
        with in_32_bits(vectors.device):
            known: Tensor = self.classifier((vectors if self.options.classify else vectors.detach()) * self.scale)
        return known

    def training_step(self, batch: Any, _: int) -> Tensor:
        parts, rows = batch
        targets = self.train_rows.targets[rows.cpu()].to(self.device)
        vectors = self.vectors(parts)
        logits = self.logits(vectors)
        options = self.options
        # A classifier that teaches the encoder nothing still learns.
        weight = options.classify / self.total or 1.0
        loss = weight * F.cross_entropy(logits, targets, label_smoothing=options.label_smoothing)
        loss = loss + mixture_of_classes(vectors, targets, options.angle) / self.total
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(targets))
        answers = logits.argmax(1)
        wrong = answers != targets
        self.confused.update(zip(targets[wrong].tolist(), answers[wrong].tolist(), strict=True))
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        parts, rows = batch
        targets = self.val_rows.targets[rows.cpu()].to(self.device)
        if len(rows):
            self.judged.add(self.logits(self.vectors(parts)), targets)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.judged.found())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["confused"] = [(*pair, count) for pair, count in self.confused.items()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.before = Counter({(number, other): count for number, other, count in checkpoint["confused"]})
