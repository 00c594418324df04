"""Training of heads on features: AdamW until the validation loss gets no better, the best kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.config import TrainConfig
from plait.fusion.inputs import HeadInputs, logits, on
from plait.processes import add_up, count, number
from plait.progress import bar
from plait.training.heads.batches import batches
from plait.training.heads.logistic import Answers
from plait.training.heads.loss import row_losses
from plait.training.heads.practice import Practice
from plait.training.seeds import Curve, seeded

STEPS = 32  # an epoch
BATCHES = (32, 512)
RISE, FALL, FALL_EPOCHS = 10, 100, 4  # steps in which the learning rate rises, and falls, that in so many epochs
GAIN = 0.05  # of the validation loss, that is worth waiting for at the full rate
SMOOTHING = 0.1  # of labels, where the configuration leaves it open
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of AdamW


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


class AdamW:
    """Decoupled weight decay (Loshchilov & Hutter 2019), on all parameters as one vector.

    By the operation that PyTorch's own ends in: `torch.optim` would import a compiler, which takes longer than most
    trainings of a head.

    Args:
        parameters: float32 on one device; they become views of `weights`.
        decay: of the weights, times the learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float):
        found = list(parameters)
        self.decay = decay
        self.weights = torch.cat([one.detach().flatten() for one in found])
        self._gradient, self._mean, self._square = (torch.zeros_like(self.weights) for _ in range(3))
        self.steps, self._steps = 0, torch.zeros((), device=self.weights.device)
        sizes = [one.numel() for one in found]
        parts = (torch.split(whole, sizes) for whole in (self.weights, self._gradient))
        for one, weight, gradient in zip(found, *parts, strict=True):
            one.data, one.grad = weight.view_as(one), gradient.view_as(one)

    def step(self, loss: Tensor, lr: float) -> None:
        """One step down a loss of the parameters."""
        self._gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        add_up(self._gradient)
        self.steps += 1
        self._steps.fill_(self.steps)
        first, second = BETAS
        torch._fused_adamw_(
            [self.weights], [self._gradient], [self._mean], [self._square], [], [self._steps], lr=lr,
            beta1=first, beta2=second, weight_decay=self.decay, eps=EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip


class Schedule:
    """The learning rate: it rises, stays until the validation loss falls but little, then falls to 0.

    Attributes:
        batch: rows a step. steps: of an epoch. epochs: how many there will be, which is settled when the rate falls.
    """

    def __init__(self, rows: int, config: TrainConfig):
        self.batch = config.batch or batch_size(rows)
        self.steps = max(1, -(-rows // self.batch))
        # Epochs of few rows are short: what is waited for goes by the steps.
        self._patience = config.patience * -(-STEPS // self.steps)
        self._fall = min(max(1, config.epochs // 2), max(FALL_EPOCHS, -(-FALL // self.steps)))
        self._peak, self.epochs = config.lr, config.epochs
        self._mark, self._waited = float("inf"), 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        left = self.epochs * self.steps - step
        return self._peak * min(1.0, (step + 1) / RISE, left / (self._fall * self.steps))

    def see(self, epoch: int, loss: float) -> None:
        """Let the rate fall after an epoch (counted from 1) whose validation loss ends the patience."""
        if epoch >= self.epochs - self._fall:
            return
        self._waited += 1
        if loss < self._mark * (1 - GAIN):
            self._mark, self._waited = loss, 0
        if self._waited >= self._patience:
            self.epochs = epoch + self._fall


class Best:
    """The weights of the best validation loss."""

    def __init__(self, weights: Tensor):
        self.weights, self._kept, self.loss = weights, weights.clone(), float("inf")

    def see(self, loss: float) -> None:
        """Take note of the loss that the weights have now."""
        if loss < self.loss:
            self.loss = loss
            self._kept.copy_(self.weights)

    def restore(self) -> None:
        """Put the best weights back."""
        self.weights.copy_(self._kept)


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
    rows = len(data[1].targets)
    keep = torch.ones(len(copies.heads), rows, dtype=torch.bool) if keep is None else keep
    generator = torch.Generator().manual_seed(seed)
    smoothing = SMOOTHING if config.label_smoothing is None else config.label_smoothing
    copies.to(device)
    optimiser, schedule = AdamW(copies.parameters(), config.weight_decay), Schedule(rows, config)
    best = Best(optimiser.weights)
    curve: Curve = []
    # Of several processes each computes its share of every batch, and hides and drops of it what it draws itself.
    with seeded(seed + number()), bar(label, config.epochs) as advance:
        while len(curve) < schedule.epochs:
            copies.train()
            total = 0.0
            for inputs, part in batches(data[0], schedule.batch, generator):
                answers = data[1].select(part)
                weights = keep[:, part] * answers.weights
                weights /= (weights > 0).sum(1, keepdim=True).clamp_min(1)
                here = slice(number(), None, count())
                mine, targets = inputs.rows(here), answers.targets[here].to(device)
                known = (on(mine.features, device), on(mine.present, device), targets)
                loss = _loss(copies, (*known, weights[:, here].to(device)), smoothing)
                optimiser.step(loss, schedule.rate(optimiser.steps))
                total += loss.item() / len(copies.heads) * len(part)
                advance(1 / schedule.steps)
            total = add_up(torch.tensor(total, dtype=torch.float64)).item()
            found = {"train_loss": total / rows, **_validated(copies.heads[0], val, device)}
            curve.append({"epoch": len(curve) + 1, **found})
            best.see(found.get("val_loss", -len(curve)))
            schedule.see(len(curve), found.get("val_loss", found["train_loss"]))
    best.restore()
    copies.cpu().eval()
    return Fitted(curve, time.perf_counter() - start)


def batch_size(rows: int) -> int:
    """A power of two that makes some `STEPS` batches of the rows, within `BATCHES`: few rows need small steps."""
    low, high = BATCHES
    return min(high, max(low, 1 << max(0, (rows // STEPS).bit_length())))


Batch = tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]  # features, present, targets (B,), weights (C, B)


def _loss(copies: Copies, batch: Batch, smoothing: float) -> Tensor:
    """The sum of the copies' mean losses: they share no weights, so each is trained as if alone.

    A weight is 0 where a copy may not learn from the row; those of a batch are divided by the rows it learns from.
    """
    *known, weights = batch
    if not weights.shape[1]:  # there are more processes than rows
        return torch.stack([parameter.sum() for parameter in copies.parameters()]).sum() * 0
    losses = copies(*known, smoothing)
    # Weighted here, for cross_entropy weights the smoothed part of every row by the rare classes, too.
    loss: Tensor = (losses * weights).sum()
    return loss


def _validated(head: nn.Module, val: tuple[HeadInputs, Answers], device: torch.device | str) -> dict[str, float]:
    """Loss and accuracy on the validation rows; nothing without any."""
    inputs, answers = val
    if not len(answers.targets):
        return {}
    rows = torch.arange(len(answers.targets))
    part = rows.tensor_split(count())[number()]
    mine = answers.select(part)
    found = logits(head, inputs if count() == 1 else inputs.rows(part), device) if len(part) else torch.zeros(0, 1)
    losses = F.cross_entropy(found, mine.targets, reduction="none") * mine.weights
    right = (found.argmax(1) == mine.targets).sum()
    loss, right = add_up(torch.stack([losses.double().sum(), right.double()]))
    return {
        "val_loss": float(loss / answers.weights.sum().clamp_min(1e-6)), "val_accuracy": float(right / len(rows))
    }  # fmt: skip
