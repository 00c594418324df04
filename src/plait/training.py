"""Training of heads on features, by Lightning: AdamW, cosine decay, early stopping on validation loss, best kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from plait.config import TrainConfig
from plait.fusion.batch import EVAL_BATCH, Strands
from plait.fusion.practice import Practice
from plait.loop import Curve, KeepBest, Loop, run_trainer, seeded
from plait.loss import row_losses

STEPS = 32  # an epoch
BATCHES = (32, 512)


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
    def __init__(self, copies: Copies, config: TrainConfig, class_weights: Tensor | None):
        super().__init__()
        self.copies = copies
        self.config = config
        self.class_weights = class_weights

    def training_step(self, batch: Any, _: int) -> Tensor:
        features, present, targets, keep = batch
        losses = self.copies(features, present, targets, self.config.label_smoothing)
        c, b = losses.shape
        if self.class_weights is not None:
            # Not by cross_entropy itself, which weights the smoothed part of every row by the rare classes, too.
            losses = losses * self.class_weights.to(losses.device)[targets]
        # Copies share no weights: summing their mean losses trains each as if alone.
        loss: Tensor = ((losses * keep).sum(1) / keep.sum(1).clamp_min(1)).sum()
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
        counts = torch.bincount(targets, minlength=int(copies.heads[0].log_prior.numel())).clamp_min(1)  # type: ignore[operator]
        weights = len(targets) / (len(counts) * counts.float())
    generator = torch.Generator().manual_seed(seed)
    loaders = (
        _loader(_Rows(strands, targets, keep), config.batch or batch_size(len(targets)), generator),
        _loader(_Rows(*val, torch.ones(1, len(val[1]), dtype=torch.bool)), EVAL_BATCH, None),
    )
    with seeded(seed):
        best = KeepBest(config.patience)
        loop = Loop(config.epochs, device, label=label, tell=False)
        run_trainer(_Task(copies, config, weights), loaders, [best], loop)
    copies.cpu().eval()
    return Fitted(best.curve, time.perf_counter() - start)


def batch_size(rows: int) -> int:
    """A power of two that makes some `STEPS` batches of the rows, within `BATCHES`: few rows need small steps."""
    low, high = BATCHES
    return min(high, max(low, 1 << max(0, (rows // STEPS).bit_length())))


def _loader(rows: _Rows, batch: int, generator: torch.Generator | None) -> DataLoader[Any]:
    sampler = RandomSampler(rows, generator=generator) if generator is not None else SequentialSampler(rows)
    return DataLoader(rows, batch_size=None, sampler=BatchSampler(sampler, batch, drop_last=False))
