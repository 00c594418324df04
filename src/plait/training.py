"""Training of heads on features, by Lightning: AdamW, cosine decay, early stopping on validation loss, best kept."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from plait.config import TrainConfig
from plait.progress import bar

EVAL_BATCH = 8192
Curve = list[dict[str, float]]


@dataclass(frozen=True)
class Strands:
    """Features of N rows: ``features[s]`` (N, D_s) float32, ``present[s]`` (N,) bool, for s in image, text."""

    features: dict[str, Tensor]
    present: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.present["image"])

    def rows(self, rows: Tensor | Sequence[int] | slice) -> Strands:
        """The given rows of every tensor."""
        return Strands({s: x[rows] for s, x in self.features.items()}, {s: x[rows] for s, x in self.present.items()})


class _Rows(Dataset[Any]):
    """Rows by lists of indices, so that a batch is one indexing operation."""

    def __init__(self, strands: Strands, targets: Tensor, keep: Tensor):
        self.strands, self.targets, self.keep = strands, targets, keep

    def __getitem__(self, rows: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
        index = torch.tensor(rows)
        part = self.strands.rows(index)
        return part.features, part.present, self.targets[index], self.keep[:, index]

    def __len__(self) -> int:
        return len(self.targets)


class Copies(nn.Module):
    """Heads of one shape trained in one loop: the first on all rows, copy c on the rows outside fold c - 1.

    ``forward(features, present)`` -> (C, B, K) logits.
    """

    def __init__(self, heads: Sequence[nn.Module]):
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return torch.stack([head(features, present) for head in self.heads])


class _Task(lightning.LightningModule):
    def __init__(self, copies: Copies, config: TrainConfig, class_weights: Tensor | None):
        super().__init__()
        self.copies = copies
        self.config = config
        self.class_weights = class_weights

    def training_step(self, batch: Any, _: int) -> Tensor:
        features, present, targets, keep = batch
        logits = self.copies(features, present)
        c, b, k = logits.shape
        weight = None if self.class_weights is None else self.class_weights.to(logits.device)
        losses = F.cross_entropy(
            logits.reshape(c * b, k), targets.repeat(c), weight, reduction="none", label_smoothing=self.config.label_smoothing
        ).view(c, b)
        # Copies share no weights: summing their mean losses trains each as if alone.
        loss = ((losses * keep).sum(1) / keep.sum(1).clamp_min(1)).sum()
        self.log("train_loss", loss / c, on_step=False, on_epoch=True, batch_size=b)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        features, present, targets, _keep = batch
        logits = self.copies.heads[0](features, present)
        self.log("val_loss", F.cross_entropy(logits, targets), batch_size=len(targets))
        self.log("val_accuracy", (logits.argmax(1) == targets).float().mean(), batch_size=len(targets))

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(self.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class KeepBest(Callback):
    """Records the learning curve, and puts the weights of the best validation loss back at the end."""

    def __init__(self, advance: Any):
        self.curve: Curve = []
        self.best = float("inf")
        self.weights: dict[str, Tensor] | None = None
        self._advance = advance

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if k in {"train_loss", "val_loss", "val_accuracy"}}
        self.curve.append({"epoch": trainer.current_epoch + 1, **values})
        loss = values.get("val_loss", -trainer.current_epoch)
        if loss < self.best:
            self.best = loss
            self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self._advance(1)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if self.weights is not None:
            module.load_state_dict(self.weights)


@dataclass(frozen=True)
class Fitted:
    """A learning curve, and the wall seconds it took."""

    curve: Curve
    seconds: float


def train(
    copies: Copies,
    data: tuple[Strands, Tensor],
    val: tuple[Strands, Tensor],
    config: TrainConfig,
    *,
    keep: Tensor | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    label: str = "train",
) -> Fitted:
    """Train heads in place; they come back on the CPU, in evaluation mode, with their best weights.

    Args:
        data: training rows and their (N,) int64 targets. val: the same for validation.
        keep: (C, N) bool, which rows each copy may learn from; None for all.
    """
    start = time.perf_counter()
    strands, targets = data
    keep = torch.ones(len(copies.heads), len(targets), dtype=torch.bool) if keep is None else keep
    weights = None
    if config.class_weights == "balanced":
        counts = torch.bincount(targets, minlength=int(copies.heads[0].log_prior.numel())).clamp_min(1)  # type: ignore[operator,union-attr]
        weights = len(targets) / (len(counts) * counts.float())
    generator = torch.Generator().manual_seed(seed)
    loaders = (
        _loader(_Rows(strands, targets, keep), config.batch, generator),
        _loader(_Rows(*val, torch.ones(1, len(val[1]), dtype=torch.bool)), EVAL_BATCH, None),
    )
    with bar(label, config.epochs) as advance, seeded(seed):
        best = KeepBest(advance)
        stop = EarlyStopping("val_loss", patience=config.patience, mode="min")
        run_trainer(_Task(copies, config, weights), loaders, [best, stop], config.epochs, device)
    copies.cpu().eval()
    return Fitted(best.curve, time.perf_counter() - start)


def run_trainer(
    task: lightning.LightningModule, loaders: tuple[Any, Any], callbacks: list[Callback], epochs: int, device: torch.device | str
) -> None:
    """A Lightning fit that writes nothing to disk or terminal."""
    device = torch.device(device)
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    with _quiet_lightning():
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator=accelerator,
            devices=[device.index] if device.index is not None else 1,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(task, *loaders)


def logits(head: nn.Module, strands: Strands) -> Tensor:
    """(N, K) logits of a trained head, in batches."""
    head.eval()
    with torch.inference_mode():
        blocks = [strands.rows(slice(i, i + EVAL_BATCH)) for i in range(0, len(strands), EVAL_BATCH)]
        return torch.cat([head(block.features, block.present) for block in blocks]).clone()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch for a block and put its state back afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _loader(rows: _Rows, batch: int, generator: torch.Generator | None) -> DataLoader[Any]:
    sampler = RandomSampler(rows, generator=generator) if generator is not None else SequentialSampler(rows)
    return DataLoader(rows, batch_size=None, sampler=BatchSampler(sampler, batch, drop_last=False))


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning greets, advises and warns about loaders that are right as they are."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
