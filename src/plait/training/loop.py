"""The training loop that encoders share: a quiet Lightning fit that keeps the best weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn import functional as F

from plait.config import Precision
from plait.files import replacing
from plait.processes import add_up, count, is_first, number, per_machine, wait
from plait.progress import bar, hushed, say
from plait.training.seeds import Curve
from plait.training.shards import Sharded, load_weights, whole

# Lightning greets, advises and warns about loaders that are right as they are.
TALKERS = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric")
TELL_EVERY = 10.0  # seconds between two lines about epochs, at least


class KeepBest(Callback):
    """Records the learning curve, and puts the weights of the best validation loss back at the end.

    Curve and best weights are part of a checkpoint, so a resumed training goes on with them.

    Args:
        patience: stop after so many epochs without a better validation loss; None: never.

    Attributes:
        waited: epochs since the best one.
    """

    def __init__(self, patience: int | None = None):
        self.curve: Curve = []
        self.best = float("inf")
        self.weights: dict[str, Tensor] | None = None
        self._patience, self.waited = patience, 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._stop(trainer)  # a resumed training may have been about to

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train_", "val_"))}
        self.curve.append({"epoch": trainer.current_epoch + 1, **values})
        loss = values.get("val_loss", -trainer.current_epoch)
        self.waited += 1
        if loss < self.best:
            self.best, self.waited = loss, 0
            self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self._stop(trainer)

    def _stop(self, trainer: Any) -> None:
        if self._patience is not None and self.waited >= self._patience:
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if self.weights is not None:
            load_weights(module, self.weights)

    def state_dict(self) -> dict[str, Any]:
        weights = None if self.weights is None else whole(self.weights, everywhere=False)
        return {"curve": self.curve, "best": self.best, "weights": weights, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve, self.best, self.weights = state_dict["curve"], state_dict["best"], state_dict["weights"]
        self.waited = state_dict["waited"]


class _Watch(Callback):
    """Moves a progress bar of epochs, within an epoch too, and tells how long ones ended.

    Args:
        advance: called with the epochs, or the part of one, done since it was last called.
    """

    def __init__(self, loop: Loop, advance: Callable[[float], None]):
        self.loop, self._advance = loop, advance
        self._done, self._told = 0.0, time.perf_counter()

    def on_train_start(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch:
            say(f"{self.loop.label}: goes on after epoch {trainer.current_epoch} of {self.loop.epochs}")
        self._to(trainer.current_epoch)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._to(trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        now = time.perf_counter()
        if now - self._told >= TELL_EVERY:
            values = trainer.callback_metrics.items()
            found = ", ".join(f"{name.removeprefix('val_')} {value:.4f}" for name, value in values if "val_" in name)
            say(f"{self.loop.label}: epoch {trainer.current_epoch + 1} of {self.loop.epochs}, validation {found}")
            self._told = now

    def _to(self, done: float) -> None:
        self._advance(done - self._done)
        self._done = done


class SeedEpochs(Callback):
    """Seeds every epoch from the seed and its number, so that a resumed training draws what it would have drawn."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        # Of several processes each draws what is dropped from its own share of a batch.
        torch.manual_seed(self.seed * 100_003 + trainer.current_epoch + 1_000_003 * number())


class _Checkpoint(Callback):
    """Writes everything training needs to go on, after each epoch; the file is whole or not there."""

    def __init__(self, path: Path):
        self.path = path

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if not is_first():
            trainer.save_checkpoint(self.path)  # which the first process alone writes, but all take part in
            return
        with replacing(self.path) as part:
            trainer.save_checkpoint(part)


@dataclass(frozen=True)
class Loop:
    """How a training loop runs.

    Attributes:
        epochs: at most so many.
        device: where.
        precision: ``auto``, ``32``, ``bf16`` or ``16``; see `lightning_precision`.
        accumulate: batches a step.
        checkpoint: file to go on from where it exists, and to write after every epoch; None for short trainings.
        reload: make the training loader anew for every epoch, by the task's own ``train_dataloader``.
        label: what the progress bar says.
        shard: of several processes each holds a part of the network; the task's ``configure_model`` shares it out.
    """

    epochs: int
    device: torch.device | str = "cpu"
    precision: Precision = "32"
    accumulate: int = 1
    checkpoint: Path | None = None
    reload: bool = False
    label: str = "train"
    shard: bool = False


def run_trainer(
    task: lightning.LightningModule, loaders: tuple[Any, Any], callbacks: list[Callback], loop: Loop
) -> None:
    """A Lightning fit that writes nothing to disk or terminal, but for its checkpoint.

    Args:
        loaders: for training and validation; None where the task has its own.
    """
    device = torch.device(loop.device)
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    checkpoint = loop.checkpoint
    with hushed(*TALKERS), bar(loop.label, loop.epochs) as advance:
        trainer = lightning.Trainer(
            max_epochs=loop.epochs,
            accelerator=accelerator,
            **_processes(device, loop.shard),
            precision=lightning_precision(loop.precision, device),
            accumulate_grad_batches=loop.accumulate,
            reload_dataloaders_every_n_epochs=int(loop.reload),
            # The checkpoint last: it saves the others.
            callbacks=[*callbacks, _Watch(loop, advance), *([_Checkpoint(checkpoint)] if checkpoint else [])],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=not loop.shard,  # in which weights cannot be put together
        )
        resume = checkpoint if checkpoint is not None and checkpoint.is_file() else None
        # Without code: a checkpoint is tensors and plain values only.
        try:
            trainer.fit(task, *loaders, ckpt_path=resume, weights_only=True)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            raise (KeyboardInterrupt() if isinstance(stop.__context__, KeyboardInterrupt) else stop) from None
        # With a checkpoint of the last epoch there is nothing left to run, and no end of training is announced.
        for callback in callbacks if resume else []:
            if isinstance(callback, KeepBest):
                callback.on_train_end(trainer, task)


def _processes(device: torch.device, sharded: bool) -> dict[str, Any]:
    """How many devices a trainer has, and how they work together; batches are shared out by who makes them."""
    if count() == 1:
        return {"devices": [device.index] if device.index is not None else 1}
    from lightning.pytorch.strategies import DDPStrategy

    wait()  # so that everyone has joined the group, which the strategy then takes over
    return {
        "devices": per_machine(), "num_nodes": count() // per_machine(), "use_distributed_sampler": False,
        "strategy": Sharded() if sharded else DDPStrategy(find_unused_parameters=True),
    }  # fmt: skip


class Judged:
    """Loss and accuracy over the validation rows of all processes, each row counted once."""

    def __init__(self) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64)

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Count a batch: (B, K) and (B,)."""
        loss = F.cross_entropy(logits, targets, reduction="sum")
        right = (logits.argmax(1) == targets).sum()
        self._sums += torch.stack([loss.double(), right.double(), loss.new_full((), len(targets)).double()]).cpu()

    def found(self) -> dict[str, Tensor]:
        """Of the rows since it was last asked; as tensors, which Lightning logs."""
        loss, right, rows = add_up(self._sums)
        self._sums = torch.zeros(3, dtype=torch.float64)
        return {"val_loss": (loss / rows).float(), "val_accuracy": (right / rows).float()} if rows else {}


def nothing_learnt(module: torch.nn.Module) -> Tensor:
    """A loss without a slope, for a process whose share of a batch has no rows while the others' have."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return torch.stack([parameter.sum() for parameter in learning]).sum() * 0


def lightning_precision(precision: Precision, device: torch.device) -> Any:
    """Lightning's name of a precision; ``auto`` is bf16 on a GPU that has it, else 32 bits."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32"
    return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[precision]


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The block that `run_trainer` computes a step in."""
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(lightning_precision(precision, device))
    return torch.autocast(device.type, kind, enabled=kind is not None)
