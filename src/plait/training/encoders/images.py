"""Images on their way into training: decoded, augmented and batched, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from os import cpu_count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from plait.config import Stage
from plait.data.images import image_ref, open_image
from plait.data.pairs import Pairs
from plait.data.unreadable import Problem, problems_of
from plait.encoders.pixels import Preprocessing
from plait.processes import count, share
from plait.progress import bar
from plait.training.seeds import seeded

JITTER = 0.1
SMALL = 64  # pixels: large JPEGs need not be decoded whole to know that they can be
SMALLEST_BATCH = 8  # a last batch of fewer rows would upset batch normalisation


@dataclass(frozen=True)
class Rows:
    """Rows to learn from: pairs, and the (N,) int64 class number of each."""

    pairs: Pairs
    targets: Tensor


class Images(Dataset[Any]):
    """Pixels (3, size, size) uint8 and target of a row; augmented where an item is ``(row, draw)``.

    The draw alone decides the augmentation, whichever worker makes it. A row whose image is missing or cannot be read
    gives None: `unreadable` names it.
    """

    def __init__(self, rows: Rows, settings: dict[str, Any], stage: Stage | None = None):
        self.size = stage.size if stage else int(settings["input_size"][-1])
        self.transform = transform(settings, stage)
        self.table, self.targets = rows.pairs.table.select_columns("image"), rows.targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[int, Tensor | None]:
        row, draw = item if isinstance(item, tuple) else (item, None)
        pixels = self.pixels(row, draw)
        return row, None if pixels is None else torch.as_tensor(pixels)

    def pixels(self, row: int, draw: int | None) -> Any:
        """The transformed image of one row, or None."""
        ref = image_ref(self.table[row]["image"])
        if ref is None:
            return None
        try:
            image = open_image(ref.load(), self.size)
        except (OSError, ValueError):
            return None
        if draw is None:
            return self.transform(image)
        with seeded(draw, gpus=False):
            return self.transform(image)


def unreadable(pairs: Pairs, workers: int | None = None) -> list[Problem]:
    """Every image that cannot be opened and decoded, in row order; equal ones are decoded once."""
    hashes, opened = pairs.image_hashes
    rows = {value: row for row, value in reversed(list(enumerate(hashes))) if value is not None}
    table = pairs.table.select_columns("image")

    def reason(row: int) -> str | None:
        ref = image_ref(table[row]["image"])
        try:
            open_image(ref.load() if ref is not None else b"", SMALL)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    threads = (cpu_count() or 2) if workers is None else max(1, workers)
    found: dict[bytes, str] = {}
    with ThreadPoolExecutor(threads) as pool, bar("look for unreadable images", len(rows)) as advance:
        for value, why in zip(rows, pool.map(reason, rows.values()), strict=True):
            if why is not None:
                found[value] = why
            advance(1)
    decoded = {row: found[value] for row, value in enumerate(hashes) if value is not None and value in found}
    return problems_of(pairs, {**opened, **decoded})


def transform(settings: dict[str, Any], stage: Stage | None) -> Any:
    """timm's transform of a stage (random crop, flip, colour, RandAugment), or the plain one of evaluation."""
    from timm.data.transforms_factory import create_transform

    if stage is None:
        return Preprocessing(settings)
    # Without mmax timm stops at 10, where the paper goes on to 15.
    augment = f"rand-m{stage.randaugment}-mmax30-mstd0.5-inc1" if stage.randaugment else None
    # RandAugment has colour operations of its own.
    options: dict[str, Any] = {
        "scale": (stage.crop, 1.0),
        "auto_augment": augment,
        "color_jitter": None if augment else JITTER,
    }
    settings = {**settings, "input_size": (3, stage.size, stage.size)}
    made = create_transform(**settings, is_training=True, use_prefetcher=True, **options)
    if settings["crop_mode"] == "squash":
        made.transforms[0] = SquashedCrop(made.transforms[0])
    for operation in (one for step in made.transforms for one in getattr(step, "ops", ())):
        if operation.name.startswith("Posterize"):
            operation.level_fn = _bits_kept
    return made


@dataclass(frozen=True)
class SquashedCrop:
    """timm's random crop, with aspect ratios about each picture's own in the place of 1.

    So that what is looked at later, the whole picture squashed, is in the middle of what is learnt from.
    """

    crop: Any

    def __call__(self, image: Any) -> Any:
        own = image.width / image.height
        crop = copy(self.crop)
        crop.ratio = tuple(own * one for one in self.crop.ratio)
        return crop(image)


def _bits_kept(level: float, _: Any) -> tuple[int]:
    """Bits a channel after RandAugment's Posterize: timm's 4 to 0, but at least the one that Pillow asks for."""
    return (max(1, 4 - int(level / 10 * 4)),)


class Draws(Sampler[tuple[int, int]]):
    """An epoch's rows in random order, each with a number that seeds its augmentation.

    Args:
        rows: those to draw from. targets: class numbers of all rows, for `balanced`.
        seed: decides everything.
        balanced: draw as many rows, with replacement, every class equally often.
    """

    def __init__(self, rows: np.ndarray, targets: Tensor, seed: int, balanced: bool = False):
        self.rows, self.targets, self.seed, self.balanced = rows, targets, seed, balanced

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng(self.seed)
        if self.balanced:
            classes = self.targets[self.rows].numpy()
            share = 1 / np.bincount(classes)[classes]
            order = rng.choice(self.rows, len(self.rows), p=share / share.sum())
        else:
            order = rng.permutation(self.rows)
        yield from zip(order.tolist(), rng.integers(0, 2**31, len(order)).tolist(), strict=True)


class Shared(Sampler[list[Any]]):
    """This process's share of each batch: a batch is of all processes together."""

    def __init__(self, items: Sampler[Any] | Sequence[int], batch: int, drop_last: bool):
        self.whole = BatchSampler(items, batch, drop_last)

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[list[Any]]:
        for batch in self.whole:
            yield list(share(batch))


def batches(images: Dataset[Any], sampler: Sampler[Any] | Sequence[int], batch: int, workers: int | None, collate: Any,
            training: bool) -> DataLoader[Any]:  # fmt: skip
    """A loader that decodes in worker processes."""
    rows = len(sampler)  # type: ignore[arg-type]
    if workers is None:
        workers = 0 if rows < 4 * batch else max(1, min(8, (cpu_count() or 2) - 1))
    drop = training and rows > batch and 0 < rows % batch < SMALLEST_BATCH * count()
    shared = Shared(sampler, batch, drop)
    return DataLoader(
        images, batch_sampler=shared, num_workers=workers, collate_fn=collate,
        pin_memory=torch.cuda.is_available(), generator=torch.Generator(),  # so as not to draw from the global one
    )  # fmt: skip


def stack(items: Sequence[tuple[int, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Pixels (B, 3, size, size) uint8 and rows (B,) of the items that could be read; B may be 0."""
    good = [(row, pixels) for row, pixels in items if pixels is not None]
    rows = torch.tensor([row for row, _ in good], dtype=torch.int64)
    return (torch.stack([pixels for _, pixels in good]) if good else torch.empty(0, dtype=torch.uint8)), rows


def with_rows(items: Sequence[tuple[int, Tensor | None]]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (B,), the R of them that could be read as pixels (R, 3, size, size) uint8, and which these are (B,) bool."""
    readable = torch.tensor([pixels is not None for _, pixels in items])
    return torch.tensor([row for row, _ in items]), stack(items)[0], readable


class Numbers(Dataset[Any]):
    """Row numbers alone, where no image is decoded."""

    def __init__(self, rows: int):
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, item: int | tuple[int, int]) -> int:
        return item[0] if isinstance(item, tuple) else item


def only_rows(items: Sequence[int]) -> tuple[Tensor, None, None]:
    """Rows (B,), in the place of what `with_rows` gives."""
    return torch.tensor(items), None, None
