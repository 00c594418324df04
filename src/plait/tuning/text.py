"""A text encoder trained on the rows themselves, with a linear classifier on top that is thrown away afterwards.

Two towers: the encoder as it is, fine-tuned; or the token vectors of its transformer through a bidirectional LSTM, as
Gallo et al. (2020), "Image and Text fusion for UPMC Food-101 using BERT and CNNs", do it with a frozen BERT.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from plait.config import TextConfig, TextTrainConfig
from plait.encoders.text import SentenceEncoder, open_sentence_model
from plait.errors import ConfigError, DataError, EncoderError
from plait.loop import Curve, KeepBest, Loop, SeedEpochs, run_trainer, seeded, warm_cosine
from plait.progress import bar
from plait.tuning.layers import freeze, train_mode

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CLIP = 1.0  # longest gradient
CHUNK = 1024  # texts tokenised at a time
BUCKET = 32  # batches that are drawn together and sorted by length

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
    """Train ``config.model`` on the rows that have a text, as ``config.train`` says.

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
    start = time.perf_counter()
    options = config.train
    _require_one_model(config)
    labelled = [_with_text(*data, "training"), _with_text(*val, "validation")]
    with seeded(seed):
        model = _build(config)
        task = _Task(model, [_tokenise(model, config.prompt, *rows) for rows in labelled], classes, options, seed)
        loop = Loop(options.epochs, device, options.precision, checkpoint=checkpoint, reload=True)
        with bar("tune text encoder", options.epochs) as advance:
            best = KeepBest(advance)
            run_trainer(task, (None, None), [best, SeedEpochs(seed)], loop)
    encoder = SentenceEncoder(model.to(device), config.model, config.prompt, config.batch)
    skipped = len(data[0]) + len(val[0]) - sum(len(texts) for texts, _ in labelled)
    return TunedText(encoder, best.curve, time.perf_counter() - start, skipped)


def _require_one_model(config: TextConfig) -> None:
    if "+" in config.model:
        raise ConfigError(
            f"text.model '{config.model}' is more than one encoder; give one to be tuned, or set text.tune=false"
        )
    if config.model.strip() == "tfidf":
        raise ConfigError(
            "text.model 'tfidf' has no weights to be tuned; use another, e.g. minilm, or set text.tune=false"
        )


def _with_text(texts: list[str | None], targets: Tensor, what: str) -> tuple[list[str], Tensor]:
    kept = [(text, target) for text, target in zip(texts, targets.tolist(), strict=True) if text and text.strip()]
    if not kept:
        raise DataError(f"no {what} row has a text; train on images alone (--set model=image) or check data.text")
    return [text for text, _ in kept], torch.tensor([target for _, target in kept])


def _build(config: TextConfig) -> SentenceTransformer:
    """The tower, with the parameters that are not trained frozen."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    from plait.encoders.lstm import BiLSTM

    options, name = config.train, config.model
    model = open_sentence_model(name, config).float()  # half-precision weights would lose small steps
    first = model[0]
    if not isinstance(first, Transformer):
        raise EncoderError(f"text.model '{name}' has no transformer to be tuned; use another, or set text.tune=false")
    freeze(first, options.layers, name)
    if options.tower == "lstm":
        lstm = BiLSTM(first.get_embedding_dimension(), options.lstm_hidden)
        modules = [first, lstm, Pooling(lstm.get_embedding_dimension(), "max")]
        prompts: dict[str, Any] = {"prompts": model.prompts, "default_prompt_name": model.default_prompt_name}
        model = SentenceTransformer(modules=modules, device="cpu", **prompts)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(
            "text.train.layers=frozen leaves nothing to be trained in a pooled tower; set text.train.layers=all, "
            "text.train.tower=lstm or text.tune=false"
        )
    return model


@dataclass(frozen=True)
class _Rows:
    """Tokenised texts: lists of N tensors (T,), one list for each input of the transformer."""

    inputs: dict[str, list[Tensor]]
    constants: dict[str, Any]  # what else the model is given with every batch
    fill: dict[str, int]
    side: str
    targets: Tensor

    def batch(self, rows: list[int]) -> tuple[dict[str, Any], Tensor]:
        padded = {
            name: pad_sequence([column[row] for row in rows], True, self.fill.get(name, 0), padding_side=self.side)
            for name, column in self.inputs.items()
        }
        return {**padded, **self.constants}, self.targets[rows]

    def batches(self, size: int, generator: torch.Generator | None = None) -> _Batches:
        """Every row once, in batches of like length; in random order with a generator."""
        lengths = [len(row) for row in self.inputs["input_ids"]]
        if generator is None:
            return _Batches(self, _cut(sorted(range(len(lengths)), key=lengths.__getitem__), size))
        order: list[list[int]] = []
        for drawn in _cut(torch.randperm(len(lengths), generator=generator).tolist(), size * BUCKET):
            order += _cut(sorted(drawn, key=lengths.__getitem__), size)
        return _Batches(self, [order[i] for i in torch.randperm(len(order), generator=generator).tolist()])


def _cut(rows: list[int], size: int) -> list[list[int]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@dataclass(frozen=True)
class _Batches:
    rows: _Rows
    order: list[list[int]]

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        return (self.rows.batch(rows) for rows in self.order)


def _tokenise(model: SentenceTransformer, prompt: str, texts: list[str], targets: Tensor) -> _Rows:
    """As `SentenceEncoder.encode` does it, but once for all epochs."""
    prompt = prompt or model.prompts.get(model.default_prompt_name or "") or ""
    inputs: dict[str, list[Tensor]] = defaultdict(list)
    constants: dict[str, Any] = {}
    for i in range(0, len(texts), CHUNK):
        features = model.preprocess(texts[i : i + CHUNK], prompt=prompt or None)
        real = features["attention_mask"].bool()
        for name, value in features.items():
            if isinstance(value, Tensor) and value.shape == real.shape:
                inputs[name] += value[real].split_with_sizes(real.sum(1).tolist())
            else:
                constants[name] = value
    tokenizer = model.tokenizer
    fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    return _Rows(dict(inputs), constants, fill, tokenizer.padding_side, targets)


class _Task(lightning.LightningModule):
    def __init__(
        self, model: SentenceTransformer, rows: list[_Rows], classes: int, options: TextTrainConfig, seed: int
    ):
        super().__init__()
        self.model, self.options, self.seed = model, options, seed
        self.train_rows, self.val_rows = rows
        width = int(model.get_embedding_dimension() or 0)
        self.classifier = nn.Sequential(nn.Dropout(options.dropout), nn.Linear(width, classes))
        # Entries of unit vectors are small, and a classifier of them would learn slowly.
        self.scale = math.sqrt(width) if type(model[-1]).__name__ == "Normalize" else 1.0

    def train_dataloader(self) -> _Batches:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.trainer.current_epoch)
        return self.train_rows.batches(self.options.batch, generator)

    def val_dataloader(self) -> _Batches:
        return self.val_rows.batches(self.options.batch)

    def on_train_epoch_start(self) -> None:
        train_mode(self)  # Lightning keeps the modes it finds

    def forward(self, features: dict[str, Any]) -> Tensor:
        vectors: Tensor = self.model(dict(features))["sentence_embedding"]
        logits: Tensor = self.classifier(vectors * self.scale)
        return logits

    def training_step(self, batch: Any, _: int) -> Tensor:
        features, targets = batch
        loss = F.cross_entropy(self(features), targets, label_smoothing=self.options.label_smoothing)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        features, targets = batch
        logits = self(features)
        self.log("val_loss", F.cross_entropy(logits, targets), batch_size=len(targets))
        self.log("val_accuracy", (logits.argmax(1) == targets).float().mean(), batch_size=len(targets))

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=CLIP, gradient_clip_algorithm="norm")

    def configure_optimizers(self) -> Any:
        from plait.encoders.lstm import BiLSTM

        options = self.options
        new = [self.classifier, *(module for module in self.model if isinstance(module, BiLSTM))]
        fresh = {id(parameter) for module in new for parameter in module.parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for parameter in self.parameters():
            if parameter.requires_grad:
                decay = options.weight_decay if parameter.ndim > 1 else 0.0  # not of biases and norms
                groups[options.head_lr if id(parameter) in fresh else options.lr, decay].append(parameter)
        optimiser = torch.optim.AdamW(
            [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]
        )
        steps = options.epochs * math.ceil(len(self.train_rows.targets) / options.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
