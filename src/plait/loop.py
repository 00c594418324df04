"""The training loop that heads and encoders share: a quiet Lightning fit that keeps the best weights."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

Curve = list[dict[str, float]]


class KeepBest(Callback):
    """Records the learning curve, and puts the weights of the best validation loss back at the end."""

    def __init__(self, advance: Any):
        self.curve: Curve = []
        self.best = float("inf")
        self.weights: dict[str, Tensor] | None = None
        self._advance = advance

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        values = {
            k: float(v) for k, v in trainer.callback_metrics.items() if k in {"train_loss", "val_loss", "val_accuracy"}
        }
        self.curve.append({"epoch": trainer.current_epoch + 1, **values})
        loss = values.get("val_loss", -trainer.current_epoch)
        if loss < self.best:
            self.best = loss
            self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self._advance(1)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if self.weights is not None:
            module.load_state_dict(self.weights)


def run_trainer(
    task: lightning.LightningModule,
    loaders: tuple[Any, Any],
    callbacks: list[Callback],
    epochs: int,
    device: torch.device | str,
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


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch, NumPy and Python's random for a block, and put their states back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning greets, advises and warns about loaders that are right as they are."""
    loggers = [
        logging.getLogger(name)
        for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric")
    ]
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
