"""An image encoder trained from random weights, with a linear classifier on top, on the rows themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from plait.config import ImageConfig
from plait.data.pairs import Pairs, image_ref, open_image
from plait.encoders.image import ImageEncoder, create_model, data_config, normalise
from plait.errors import DataError, EncoderError
from plait.loop import Curve, KeepBest, Loop, run_trainer, seeded
from plait.progress import bar

WARMUP = 0.1  # share of the steps in which the learning rate rises


@dataclass(frozen=True)
class TrainedImage:
    """An image encoder, its learning curve and the wall seconds it took."""

    encoder: ImageEncoder
    curve: Curve
    seconds: float


def train_image(
    pairs: Pairs, targets: Tensor, val: tuple[Pairs, Tensor] | None, classes: int, config: ImageConfig, *,
    seed: int = 0, device: torch.device | str = "cpu", label: str = "train image encoder",
) -> TrainedImage:  # fmt: skip
    """Train a timm model on the rows that have an image.

    Args:
        targets: (N,) int64 class of each row.
        val: rows and targets that choose the best epoch; None keeps the last.
        classes: K.

    Raises:
        EncoderError: the image size is too small for the network.
        DataError: no row has an image.
    """
    start = time.perf_counter()
    if not pairs.has_image.any():
        raise DataError("no training row has an image; train on text alone (--set model=text) or check data.image")
    with seeded(seed):
        model = create_model(config.model, pretrained=False, num_classes=classes)
        settings = data_config(model, config.size)
        _check_size(model, settings, config)
        generator = torch.Generator().manual_seed(seed)
        loaders = (
            _loader(_Images(pairs, targets, settings, augment=True), config, generator),
            None if val is None else _loader(_Images(*val, settings, augment=False), config, None),
        )
        with bar(label, config.train.epochs) as advance:
            best = KeepBest(advance)
            run_trainer(_Task(model, settings, config), loaders, [best], Loop(config.train.epochs, device))
    encoder = ImageEncoder(model, settings, config.model, device)
    return TrainedImage(encoder, best.curve, time.perf_counter() - start)


class _Images(Dataset[Any]):
    """Augmented (RandomResizedCrop, flips, colour) or plain images of the rows that have one."""

    def __init__(self, pairs: Pairs, targets: Tensor, settings: dict[str, Any], augment: bool):
        from timm.data.transforms_factory import create_transform

        options: dict[str, Any] = {"scale": (0.75, 1.0), "color_jitter": 0.1} if augment else {}
        self.transform = create_transform(**settings, is_training=augment, use_prefetcher=True, **options)
        self.size = int(settings["input_size"][-1])
        self.rows = pairs.has_image.nonzero()[0].tolist()
        self.table, self.targets = pairs.table.select_columns("image"), targets

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[Tensor, int] | None:
        row = self.rows[item]
        ref = image_ref(self.table[row]["image"])
        try:
            assert ref is not None
            return self.transform(open_image(ref.load(), self.size)), int(self.targets[row])
        except (OSError, ValueError):
            return None  # named and counted when the same rows are encoded


def _stack(items: Sequence[tuple[Tensor, int] | None]) -> tuple[Tensor, Tensor]:
    good = [item for item in items if item is not None]
    return torch.stack([pixels for pixels, _ in good]), torch.tensor([target for _, target in good])


def _loader(images: _Images, config: ImageConfig, generator: torch.Generator | None) -> DataLoader[Any]:
    workers = config.workers if config.workers is not None else 1
    batch = config.train.batch if generator is not None else config.batch
    # A last batch of one row would break batch normalisation.
    drop = generator is not None and len(images) > batch and len(images) % batch < 8
    return DataLoader(
        images, batch, shuffle=generator is not None, generator=generator, num_workers=workers, collate_fn=_stack,
        persistent_workers=workers > 0, drop_last=drop,
    )  # fmt: skip


def _check_size(model: torch.nn.Module, settings: dict[str, Any], config: ImageConfig) -> None:
    size = int(settings["input_size"][-1])
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(2, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise EncoderError(
            f"image.size {size} does not suit '{config.model}' ({reason}); set a larger image.size"
        ) from None


class _Task(lightning.LightningModule):
    def __init__(self, model: torch.nn.Module, settings: dict[str, Any], config: ImageConfig):
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.settings, self.options = settings, config.train

    def on_fit_start(self) -> None:
        self.model.train()  # Lightning keeps the mode it finds

    def training_step(self, batch: Any, _: int) -> Tensor:
        pixels, targets = batch
        logits = self.model(normalise(pixels, self.settings))
        loss = F.cross_entropy(logits, targets, label_smoothing=self.options.label_smoothing)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        pixels, targets = batch
        logits = self.model(normalise(pixels, self.settings))
        self.log("val_loss", F.cross_entropy(logits, targets), batch_size=len(targets))
        self.log("val_accuracy", (logits.argmax(1) == targets).float().mean(), batch_size=len(targets))

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=self.options.lr or 2e-3, weight_decay=self.options.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.options.lr or 2e-3, steps, pct_start=WARMUP)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
