"""Training of heads on features, by Lightning: AdamW until the validation loss gets no better, the best kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from plait.config import TrainConfig
from plait.fusion.inputs import EVAL_BATCH, HeadInputs
from plait.training.heads.logistic import Answers
from plait.training.heads.loss import row_losses
from plait.training.heads.practice import Practice
from plait.training.loop import Curve, KeepBest, Loop, run_trainer, seeded

STEPS = 32  # an epoch
SMOOTHING = 0.1  # of labels, where the configuration leaves it open
COOLER, CUTS = 0.2, 2  # what the learning rate is multiplied by, and how often
BATCHES = (32, 512)


class _Rows(Dataset[Any]):
    """Rows by lists of indices, so that a batch is one indexing operation."""

    def __init__(self, modalities: HeadInputs, answers: Answers, keep: Tensor):
        self.modalities, self.answers, self.keep = modalities, answers, keep

    def __getitem__(self, rows: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
        index = torch.tensor(rows)
        part = self.modalities.rows(index)
        weight = self.keep[:, index] * self.answers.weights[index]
        return part.features, part.present, self.answers.targets[index], weight

    def __len__(self) -> int:
        return len(self.answers.targets)


class Copies(nn.Module):
    """Heads of one shape trained in one loop: the first on all rows, copy c on the rows outside fold c - 1.

    ``forward(features, present, targets, label_smoothing)`` -> (C, B) losses of the rows as `practice` changes them;
    every copy sees the same changes.
    """

    def __init__(self, heads: Sequence[nn.Module], practice: Practice | None = None):
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.practice = practice

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], targets: Tensor, label_smoothing: float
    ) -> Tensor:
        if self.practice is not None:
            features, present = self.practice.apply(features, present)
        losses = [row_losses(head, features, present, targets, label_smoothing)[1] for head in self.heads]
        return torch.stack(losses)


class _Task(lightning.LightningModule):
    def __init__(self, copies: Copies, config: TrainConfig):
        super().__init__()
        self.copies = copies
        self.config = config

    def training_step(self, batch: Any, _: int) -> Tensor:
        features, present, targets, weights = batch
        smoothing = SMOOTHING if self.config.label_smoothing is None else self.config.label_smoothing
        losses = self.copies(features, present, targets, smoothing)
        c, b = losses.shape
        # Weighted here, for cross_entropy weights the smoothed part of every row by the rare classes, too.
        # Copies share no weights: summing their mean losses trains each as if alone.
        loss: Tensor = ((losses * weights).sum(1) / (weights > 0).sum(1).clamp_min(1)).sum()
        self.log("train_loss", loss / c, on_step=False, on_epoch=True, batch_size=b)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        features, present, targets, weights = batch
        logits = self.copies.heads[0](features, present)
        losses = F.cross_entropy(logits, targets, reduction="none") * weights[0]
        size = len(targets)
        self.log("val_loss", losses.sum() / weights.sum().clamp_min(1e-6), batch_size=size)
        self.log("val_accuracy", (logits.argmax(1) == targets).float().mean(), batch_size=size)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay)


class Cool(Callback):
    """Cuts the learning rate whenever `KeepBest` has waited as long as it may, and stops at the last cut.

    Each colder stretch starts from the best weights so far.
    """

    def __init__(self, best: KeepBest, patience: int, cuts: int = CUTS):
        self.best, self.patience, self.left, self._since = best, patience, cuts, 0

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self._since += 1
        if min(self._since, self.best.waited) < self.patience:
            return
        if not self.left:
            trainer.should_stop = True
            return
        self.left, self._since = self.left - 1, 0
        if self.best.weights is not None:
            module.load_state_dict(self.best.weights)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] *= COOLER


@dataclass(frozen=True)
class Fitted:
    """A learning curve, and the wall seconds it took."""

    curve: Curve
    seconds: float


def train(
    copies: Copies,
    data: tuple[HeadInputs, Answers],
    val: tuple[HeadInputs, Answers],
    config: TrainConfig,
    *,
    keep: Tensor | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    label: str = "train",
) -> Fitted:
    """Train heads in place; they come back on the CPU, in evaluation mode, with their best weights.

    Args:
        data: training rows, their classes and weights. val: the same for validation.
        keep: (C, N) bool, which rows each copy may learn from; None for all.
    """
    start = time.perf_counter()
    modalities, answers = data
    rows = len(answers.targets)
    keep = torch.ones(len(copies.heads), rows, dtype=torch.bool) if keep is None else keep
    generator = torch.Generator().manual_seed(seed)
    told = torch.ones(1, len(val[1].targets), dtype=torch.bool)
    loaders = (
        _loader(_Rows(modalities, answers, keep), config.batch or batch_size(rows), generator),
        _loader(_Rows(*val, told), EVAL_BATCH, None),
    )
    with seeded(seed):
        best = KeepBest()
        loop = Loop(config.epochs, device, label=label, tell=False)
        run_trainer(_Task(copies, config), loaders, [best, Cool(best, config.patience)], loop)
    copies.cpu().eval()
    return Fitted(best.curve, time.perf_counter() - start)


def batch_size(rows: int) -> int:
    """A power of two that makes some `STEPS` batches of the rows, within `BATCHES`: few rows need small steps."""
    low, high = BATCHES
    return min(high, max(low, 1 << max(0, (rows // STEPS).bit_length())))


def _loader(rows: _Rows, batch: int, generator: torch.Generator | None) -> DataLoader[Any]:
    sampler = RandomSampler(rows, generator=generator) if generator is not None else SequentialSampler(rows)
    return DataLoader(rows, batch_size=None, sampler=BatchSampler(sampler, batch, drop_last=False))
