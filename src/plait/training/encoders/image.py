"""Tuning an image encoder, with a linear classifier on top, by progressive learning."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from plait.config import ImageConfig, ImageTrainConfig, Stage
from plait.encoders.image import create_model, crop_mode, data_config, require_size
from plait.encoders.pixels import normalise
from plait.errors import DataError, EncoderError, setting
from plait.processes import count, gathered
from plait.progress import bar
from plait.training.encoders.depthwise import widen_small_maps
from plait.training.encoders.images import Draws, Images, Rows, batches, stack
from plait.training.encoders.layers import freeze, keep_statistics, train_mode
from plait.training.encoders.memory import needs_memory
from plait.training.encoders.probe import fit_probe
from plait.training.encoders.resolution import Seen, probe_sides, side_to_tune_at
from plait.training.encoders.stages import plan, regularise, stage_at
from plait.training.loop import Judged, KeepBest, Loop, SeedEpochs, nothing_learnt, run_trainer
from plait.training.seeds import Curve, seeded, warm_cosine

LR = {True: 2e-4, False: 2e-3}  # from pretrained weights, from random ones
PROBED = 6000  # rows, at most, that the side to use a network at is chosen by


@dataclass(frozen=True)
class TunedImage:
    """A timm model with its classifier of K classes, its preprocessing, learning curve, wall seconds, and the side in
    pixels that it was tuned at; the preprocessing has the one to use it at."""

    model: nn.Module
    settings: dict[str, Any]
    curve: Curve
    seconds: float
    side: int


def tune_image(
    train: Rows, val: Rows, classes: int, config: ImageConfig, *,
    seed: int = 0, device: torch.device | str = "cpu", checkpoint: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> TunedImage:  # fmt: skip
    """Train a timm model on the rows that have an image.

    Args:
        val: rows that choose the best epoch.
        classes: K.
        checkpoint: file to go on from where it exists, written after every epoch.
        callbacks: Lightning's, to follow the training; what they raise ends it.

    Raises:
        EncoderError: weights that cannot be had, an image size too small for the network, or too little memory.
        DataError: no row has an image.
        ConfigError: fewer layers than ``image.train.layers``.
    """
    start = time.perf_counter()
    for rows, which in ((train, "training"), (val, "validation")):
        if not rows.pairs.has_image.any():
            raise DataError(
                f"no {which} row has an image; train on text alone ({setting('model=text')}) or check data.image"
            )
    with seeded(seed):
        model = _model(config, classes)
        used = data_config(model, config.size, crop_mode(config))
        side = side_to_tune_at(int(used["input_size"][-1]), config)
        settings = used if side == used["input_size"][-1] else data_config(model, side, crop_mode(config))
        stages = plan(config.train, side, config.pretrained)
        data = _Data(train, val, settings, config, seed)
        task = _Task(model, data, stages, _lr(config))
        for stage in stages:
            require_size(model, stage.size, config.model, "set a larger image.size, or larger image.train.stages")
        epochs = sum(stage.epochs for stage in stages)
        precision, accumulate = config.train.precision, config.train.accumulate
        loop = Loop(epochs, device, precision, accumulate, checkpoint, reload=True, label="tune image encoder")
        with needs_memory(task, "image.train", loop):
            if config.pretrained and not (checkpoint and checkpoint.is_file()):
                _start_classifier(task, device)
            best = KeepBest()
            run_trainer(task, (None, None), [SeedEpochs(seed), best, *callbacks], loop)
        kept = (task.ema.module if task.ema is not None else model).eval()
        if settings is not used and _used_side(kept, data, used, classes, device) == side:
            used = settings
    return TunedImage(kept.cpu(), used, best.curve, time.perf_counter() - start, side)


def _used_side(model: Any, data: _Data, larger: dict[str, Any], classes: int, device: torch.device | str) -> int:
    """The side that validation rows choose: the one the network was tuned at, or the larger one."""
    sides = {int(settings["input_size"][-1]): settings for settings in (data.settings, larger)}
    model.to(device)

    def seen(rows: Rows) -> Seen:
        there = rows.pairs.has_image.nonzero()[0]
        some = there[np.unique(np.linspace(0, len(there) - 1, min(PROBED, len(there))).round().astype(np.int64))]
        return lambda side: _pooled(model, rows, some.tolist(), sides[side], data.config, f"features at {side} px")

    small, large = sorted(sides)
    found = probe_sides((small, large), seen(data.train), seen(data.val), classes)
    found.tell()
    return found.used


def _pooled(
    model: Any, rows: Rows, numbers: list[int], settings: dict[str, Any], config: ImageConfig, label: str
) -> tuple[Tensor, Tensor]:
    """Features (N, D) below the classifier, and classes (N,), of those of the rows whose image can be read."""
    device = next(model.parameters()).device
    features: list[Tensor] = []
    read: list[Tensor] = []
    loader = batches(Images(rows, settings), numbers, config.batch, config.workers, stack, False)
    with torch.inference_mode(), bar(label, len(numbers)) as advance:
        for pixels, part in loader:
            advance(len(part))
            if len(part):
                maps = model.forward_features(normalise(pixels.to(device), settings))
                features.append(model.forward_head(maps, pre_logits=True).float().cpu())
                read.append(part)
    found = gathered((torch.cat(features).clone(), torch.cat(read))) if features else gathered(None)
    parts = [part for part in found if part is not None]
    return torch.cat([part[0] for part in parts]), rows.targets[torch.cat([part[1] for part in parts])]


def _lr(config: ImageConfig) -> float:
    return config.train.lr or LR[config.pretrained]


def _model(config: ImageConfig, classes: int) -> Any:
    """The network with a fresh classifier, and stochastic depth where it has any."""
    most = max(stage.drop_path for stage in plan(config.train, config.size or 224, config.pretrained))
    try:
        model: Any = create_model(config.model, config.pretrained, drop_path_rate=most)
    except EncoderError as error:
        if "drop_path_rate" not in str(error):
            raise
        model = create_model(config.model, config.pretrained)
    model.reset_classifier(classes)
    widen_small_maps(model)
    freeze(model, config.train.layers or ("upper" if config.pretrained else "all"), config.model)
    model.get_classifier().requires_grad_(True)
    return model


def _start_classifier(task: _Task, device: torch.device | str) -> None:
    """Fit a linear classifier to what the network makes of images of the first stage's size, and start from it."""
    model, data, size = task.model, task.data, task.stages[0].size
    layer = model.get_classifier()
    if not isinstance(layer, nn.Linear):
        return  # several classifiers, or a convolution: these start at random
    settings = {**data.settings, "input_size": (3, size, size)}
    model.to(device).eval()
    config = data.config.model_copy(update={"batch": task.batch(task.stages[0])})
    features, targets = _pooled(model, data.train, task.rows.tolist(), settings, config, "fit first classifier")
    model.cpu()
    fit_probe(layer, features, targets, task.options.label_smoothing)
    if task.ema is not None:
        task.ema.set(model)  # it was made with the random classifier


@dataclass(frozen=True)
class _Data:
    """The rows, and how they are read."""

    train: Rows
    val: Rows
    settings: dict[str, Any]
    config: ImageConfig
    seed: int


class _Task(lightning.LightningModule):
    def __init__(self, model: Any, data: _Data, stages: tuple[Stage, ...], lr: float):
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.data, self.stages, self.lr = data, stages, lr
        self.options: ImageTrainConfig = data.config.train
        self.ema: Any = None
        if self.options.ema:
            from timm.utils.model_ema import ModelEmaV3

            self.ema = ModelEmaV3(model, decay=self.options.ema, use_warmup=True)
        self.rows = data.train.pairs.has_image.nonzero()[0]
        self.judged = Judged()

    @property
    def stage(self) -> Stage:
        return stage_at(self.stages, self.current_epoch)

    def train_dataloader(self) -> Any:
        stage, data = self.stage, self.data
        draws = Draws(self.rows, data.train.targets, data.seed * 100_003 + self.current_epoch, self.options.balanced)
        images = Images(data.train, data.settings, stage)
        return batches(images, draws, self.batch(stage), data.config.workers, stack, training=True)

    def val_dataloader(self) -> Any:
        data = self.data
        rows = data.val.pairs.has_image.nonzero()[0].tolist()
        return batches(Images(data.val, data.settings), rows, data.config.batch, data.config.workers, stack, False)

    def on_train_epoch_start(self) -> None:
        train_mode(self.model)  # Lightning keeps the mode it finds
        if self.data.config.pretrained and not self.options.batch_stats:
            keep_statistics(self.model)
        regularise(self.model, self.stage)

    def training_step(self, batch: Any, _: int) -> Tensor | None:
        pixels, rows = batch
        if len(rows) < 2:  # batch normalisation needs two
            return nothing_learnt(self.model) if count() > 1 else None
        targets = self.data.train.targets.to(pixels.device)[rows]
        loss = self.loss(normalise(pixels, self.data.settings), targets)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(targets))
        return loss

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, of pictures mixed in pairs where the stage has mixup (Zhang et al. 2018)."""
        cross_entropy = partial(F.cross_entropy, label_smoothing=self.options.label_smoothing)
        alpha = self.stage.mixup
        if not alpha:
            return cross_entropy(self.model(images), targets)
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        other = torch.randperm(len(images), device=images.device)
        logits = self.model(share * images + (1 - share) * images[other])
        return share * cross_entropy(logits, targets) + (1 - share) * cross_entropy(logits, targets[other])

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.model, step=self.global_step)

    def validation_step(self, batch: Any, _: int) -> None:
        pixels, rows = batch
        if len(rows) == 0:
            return
        targets = self.data.val.targets.to(pixels.device)[rows]
        model = self.ema.module if self.ema is not None else self.model
        self.judged.add(model(normalise(pixels, self.data.settings)), targets)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.judged.found())

    def configure_optimizers(self) -> Any:
        from timm.optim._param_groups import param_groups_layer_decay

        options = self.options
        groups: Any = param_groups_layer_decay(self.model, options.weight_decay, layer_decay=options.layer_decay)
        for group in groups:
            group["lr"] = self.lr * group.pop("lr_scale", 1.0)
        optimiser = torch.optim.AdamW(groups, self.lr, fused=self.device.type in ("cpu", "cuda"))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(warm_cosine, steps=self.steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        each = (math.ceil(len(self.rows) / (self.batch(s) * self.options.accumulate)) * s.epochs for s in self.stages)
        return max(1, sum(each))

    def batch(self, stage: Stage) -> int:
        return stage.batch or self.options.batch

    def rehearse(self, batch: int | None = None) -> tuple[int, int]:
        """One step of a stage's loss on made-up pixels with `batch` rows; its size in pixels and its own batch."""
        stage = self.stage
        if batch is not None:
            self.on_train_epoch_start()
            size = stage.size
            images = torch.zeros(batch, 3, size, size, device=self.device)
            loss = self.loss(images, torch.zeros(batch, dtype=torch.int64, device=self.device))
            loss.backward()  # type: ignore[no-untyped-call]
            self.zero_grad(set_to_none=True)
        return stage.size, self.batch(stage)
