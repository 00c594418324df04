"""A fast text encoder: a tuned one distilled into static vectors of words, whose mean is the vector of a text.

The vectors start as Model2Vec makes them (Tulkens & van Dongen 2024): what the teacher says of each word alone, in
fewer dimensions, rare words weighing more. Then they learn what the teacher says of whole texts.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.config import StaticConfig, TextConfig
from plait.encoders.base import quiet
from plait.encoders.text import SentenceEncoder
from plait.errors import ConfigError, EncoderError
from plait.training.loop import KeepBest, Loop, SeedEpochs, run_trainer
from plait.training.seeds import Curve, seeded, warm_cosine

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Distilled:
    """A static encoder, its learning curve (``val_cosine``: likeness to the teacher) and the wall seconds it took."""

    encoder: SentenceEncoder
    curve: Curve
    seconds: float


def distil(
    teacher: SentenceEncoder, train: Sequence[str], val: Sequence[str], config: TextConfig, seed: int = 0
) -> Distilled:
    """Distil a text encoder on texts of the kind it is to read; labels play no part.

    Args:
        train: texts that words are counted in and learnt from.
        val: texts that choose the best epoch.

    Raises:
        ConfigError: Model2Vec is not installed.
        EncoderError: the teacher has no transformer with a tokenizer of its own.
    """
    start, options = time.perf_counter(), config.static
    with seeded(seed):
        known = teacher.model.tokenizer.get_vocab()
        words = [word for word in words_of(train, options.min_count) if word not in known]
        model = _first_vectors(teacher, words, options)
        rows = [_Texts(model, texts, torch.from_numpy(teacher.encode(list(texts)))) for texts in (train, val)]
        task = _Task(model, rows, options, seed)
        best = KeepBest()
        loop = Loop(options.epochs, reload=True, label="distil text encoder")
        run_trainer(task, (None, None), [best, SeedEpochs(seed)], loop)
    name = f"static({teacher.name})"
    return Distilled(SentenceEncoder(model, name, "", config.batch), best.curve, time.perf_counter() - start)


def words_of(texts: Sequence[str], least: int) -> list[str]:
    """Words that at least so many texts have, lower case, most frequent first."""
    counts = Counter(word for text in texts for word in set(WORD.findall(text.lower())))
    return [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= least]


def _first_vectors(teacher: SentenceEncoder, words: list[str], options: StaticConfig) -> SentenceTransformer:
    """A sentence-transformers model of one `StaticEmbedding`: the teacher's tokens and the words, as Model2Vec does."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer

    try:
        from model2vec.distill import distill_from_model
    except ImportError:
        raise ConfigError("distilling needs Model2Vec; pip install 'plait[static]'") from None
    source: Any = teacher.model[0]
    if not isinstance(source, Transformer):
        raise EncoderError(f"text.model '{teacher.name}' has no transformer to be distilled; give the encoder it is of")
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # its progress bar cannot be turned off
        made = distill_from_model(
            source.auto_model.eval(), teacher.model.tokenizer, vocabulary=words, pca_dims=options.dim, device="cpu",
            quantize_to="float32",
        )  # fmt: skip
    weights = torch.from_numpy(made.embedding).float()
    if made.weights is not None:
        weights = weights * torch.from_numpy(made.weights).float()[:, None]
    first = StaticEmbedding(made.tokenizer, embedding_weights=weights.contiguous())
    return SentenceTransformer(modules=[first], device="cpu")


class _Texts:
    """Tokenised texts and what the teacher makes of them, (N, D)."""

    def __init__(self, model: SentenceTransformer, texts: Sequence[str], wanted: Tensor):
        self.ids = [
            torch.tensor(ids.ids) for ids in model.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]
        self.wanted = F.normalize(wanted)

    def batch(self, rows: Sequence[int]) -> tuple[dict[str, Tensor], Tensor]:
        """What the model takes, and what it should make of it."""
        ids = [self.ids[row] for row in rows]
        offsets = torch.tensor([0, *(len(row) for row in ids[:-1])]).cumsum(0)
        return {"input_ids": torch.cat(ids), "offsets": offsets}, self.wanted[list(rows)]


class _Loader:
    def __init__(self, texts: _Texts, order: list[list[int]]):
        self.texts, self.order = texts, order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        return (self.texts.batch(rows) for rows in self.order)


class _Task(lightning.LightningModule):
    """Vectors of texts are taken to the teacher's space by a linear map that is thrown away."""

    def __init__(self, model: SentenceTransformer, rows: list[_Texts], options: StaticConfig, seed: int):
        super().__init__()
        self.model, self.options, self.seed = model, options, seed
        self.train_rows, self.val_rows = rows
        self.map = nn.Linear(int(model.get_embedding_dimension() or 0), rows[0].wanted.shape[1])

    def train_dataloader(self) -> _Loader:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.trainer.current_epoch)
        rows = torch.randperm(len(self.train_rows.ids), generator=generator)
        return _Loader(self.train_rows, [part.tolist() for part in torch.split(rows, self.options.batch)])

    def val_dataloader(self) -> _Loader:
        rows = torch.arange(len(self.val_rows.ids))
        return _Loader(self.val_rows, [part.tolist() for part in torch.split(rows, self.options.batch)])

    def distance(self, batch: Any) -> Tensor:
        """Mean of 1 - cosine to the teacher's vectors."""
        features, wanted = batch
        found: Tensor = self.map(self.model(dict(features))["sentence_embedding"])
        return 1 - F.cosine_similarity(found, wanted).mean()

    def training_step(self, batch: Any, _: int) -> Tensor:
        loss = self.distance(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch[1]))
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        distance = self.distance(batch)
        self.log("val_loss", distance, batch_size=len(batch[1]))
        self.log("val_cosine", 1 - distance, batch_size=len(batch[1]))

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.Adam(self.parameters(), self.options.lr)
        steps = self.options.epochs * math.ceil(len(self.train_rows.ids) / self.options.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(warm_cosine, steps=steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
