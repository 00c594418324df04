"""The short training that tells networks apart: plait's own, on the same rows and with the same seed for all."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from plait.config import ImageConfig
from plait.data.draws import stratified
from plait.data.pairs import Pairs
from plait.encoders.image import LOCAL, save_timm
from plait.search.inherit import inherit
from plait.search.space import Network
from plait.training.encoders.image import LR, tune_image
from plait.training.encoders.images import Rows
from plait.training.encoders.stages import EPOCHS, plan

WEIGHTS = "model.safetensors"
VALIDATING = 0.35  # seconds of a validated row by those of one in a training step
AROUND = 3.0  # seconds of a training beside its steps


@dataclass(frozen=True)
class Heritage:
    """Where networks begin.

    Attributes:
        settings: timm's data config of the pictures, but for their size.
        source: a trained network whose blocks are taken; None: random weights.
    """

    settings: dict[str, Any]
    source: torch.nn.Module | None = None

    def write(self, network: Network, folder: Path) -> float:
        """Write a network without a classifier as a timm folder, weights only where some are inherited.

        Returns:
            The share of its parameters that are inherited.
        """
        model = network.build(0)
        share = inherit(model, self.source) if self.source is not None else 0.0
        folder.mkdir(parents=True, exist_ok=True)
        save_timm(model, self.settings | {"input_size": (3, network.size, network.size)}, folder)
        if self.source is None:
            (folder / WEIGHTS).unlink()
        return share

    def config(self, image: ImageConfig, network: Network, folder: Path, **train: Any) -> ImageConfig:
        """``image`` for the training of a network that `write` wrote.

        One with inherited weights is partly random: it learns as one from random weights does.
        """
        train |= {"enlarge": False, "layers": image.train.layers or "all"}
        train.setdefault("epochs", image.train.epochs or EPOCHS[False])
        if self.source is not None:
            progressive = image.train.progressive is not False
            train |= {"lr": image.train.lr or LR[False], "progressive": progressive, "batch_stats": True}
        given = {"model": f"{LOCAL}{folder}", "pretrained": self.source is not None, "size": network.size}
        return image.model_copy(update=given | {"train": image.train.model_copy(update=train)})


@dataclass(frozen=True)
class Proxy:
    """A short training.

    Args:
        train, val: rows, see `some`.
        classes: K.
        image: its training settings.
        heritage: where networks begin.
        epochs: of every training.
    """

    train: Rows
    val: Rows
    classes: int
    image: ImageConfig
    heritage: Heritage
    epochs: int
    seed: int
    device: torch.device

    def accuracy(self, network: Network, report: Callable[[int, float], None]) -> float:
        """Validation accuracy after the last epoch, 0 to 1.

        Args:
            report: told each epoch, counted from 1, and its accuracy; what it raises ends the training.
        """
        last = 0.0

        def heard(epoch: int, accuracy: float) -> None:
            nonlocal last
            last = accuracy
            report(epoch, accuracy)

        with tempfile.TemporaryDirectory() as folder:
            self.heritage.write(network, Path(folder))
            config = self.heritage.config(self.image, network, Path(folder), epochs=self.epochs)
            tune_image(
                self.train, self.val, self.classes, config,
                seed=self.seed, device=self.device, callbacks=(_Report(heard),),
            )  # fmt: skip
        return last

    def seconds(self, network: Network, step_ms: float) -> float:
        """About how long the training of a network takes, given the milliseconds of a step at its full size."""
        train = self.image.train.model_copy(update={"epochs": self.epochs})
        stages = plan(train, network.size)
        steps = math.ceil(len(self.train.targets) / train.batch)
        trained = sum(stage.epochs * steps * (stage.size / network.size) ** 2 for stage in stages)
        validated = self.epochs * VALIDATING * len(self.val.targets) / train.batch
        return AROUND + (trained + validated) * step_ms / 1000


class _Report(Callback):
    def __init__(self, tell: Callable[[int, float], None]):
        self.tell = tell

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.tell(trainer.current_epoch + 1, float(trainer.callback_metrics["val_accuracy"]))


def some(pairs: Pairs, rows: int, seed: int) -> Pairs:
    """At most so many rows that have an image, drawn by classes; the same ones for the same seed."""
    pairs = pairs.select(np.flatnonzero(pairs.has_image))
    if len(pairs) <= rows:
        return pairs
    _, held = stratified(pairs, np.arange(len(pairs)), rows / len(pairs), seed)
    return pairs.select(held)
