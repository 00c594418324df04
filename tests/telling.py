"""Features that tell the class in a known share of the rows, which tests of fitting share."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from plait.config import Config, configure
from plait.fusion.inputs import HeadInputs, logits
from plait.training.heads.fitter import Fitter
from plait.training.heads.task import Task


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def modalities(image: Tensor, text: Tensor) -> HeadInputs:
    here = torch.ones(len(image), dtype=torch.bool)
    return HeadInputs({"image": image, "text": text}, {"image": here, "text": here.clone()})


def said(targets: Tensor, right: float, classes: int, g: torch.Generator, dim: int = 16, noise: float = 0.1) -> Tensor:
    """(N, dim) features that point to the right class in a share `right` of the rows, else to another one."""
    other = (targets + torch.randint(1, classes, targets.shape, generator=g)) % classes
    chosen = torch.where(torch.rand(len(targets), generator=g) < right, targets, other)
    return torch.eye(classes, dim)[chosen] + noise * torch.randn(len(targets), dim, generator=g)


def accuracy(found: Tensor, targets: Tensor) -> float:
    return (found.argmax(1) == targets).float().mean().item()


def config(*overrides: str) -> Config:
    return configure(overrides=["head.hidden=32", "train.lr=3e-3", *overrides])


def small(seed: int = 0, rows: int = 300, classes: int = 5) -> Task:
    """A little of everything: both modalities say something, folds of a third each."""
    g = generator(seed)
    targets, val = torch.arange(rows) % classes, torch.arange(100) % classes
    return Task(
        train=modalities(said(targets, 0.5, classes, g), said(targets, 0.8, classes, g)),
        targets=targets,
        folds=torch.arange(rows) // classes % 3,
        val=modalities(said(val, 0.5, classes, g), said(val, 0.8, classes, g)),
        val_targets=val,
        classes=classes,
    )


def over_separated(seen: frozenset[str] = frozenset()) -> tuple[Task, HeadInputs, Tensor]:
    """Image features as from an encoder trained on these very rows: 100 % right there and 40 % elsewhere; text 80 %."""
    g, classes = generator(0), 10
    train_targets, val_targets, test_targets = (torch.arange(n) % classes for n in (1200, 400, 2000))

    def rows(targets: Tensor, image: float) -> HeadInputs:
        return modalities(said(targets, image, classes, g), said(targets, 0.8, classes, g))

    train_rows, val_rows, test_rows = rows(train_targets, 1.0), rows(val_targets, 0.4), rows(test_targets, 0.4)
    folds = torch.arange(1200) // classes % 3
    return Task(train_rows, train_targets, folds, val_rows, val_targets, classes, seen), test_rows, test_targets


def unequal(
    rows: int, shares: tuple[float, ...], seed: int, lean: tuple[float, float] = (0.85, 1.1)
) -> tuple[HeadInputs, Tensor]:
    """Classes as frequent as `shares`, each a normal cloud of 8 numbers a modality, and how far apart they lie."""
    g, classes = generator(seed), len(shares)
    targets = torch.multinomial(torch.tensor(shares), rows, replacement=True, generator=g)
    clouds = [torch.randn(classes, 8, generator=generator(100 + i)) for i in range(2)]
    image, text = (
        far * cloud[targets] + torch.randn(rows, 8, generator=g) for far, cloud in zip(lean, clouds, strict=True)
    )
    return modalities(image, text), targets


@cache
def points(model: str, seen: frozenset[str], *overrides: str) -> float:
    """Accuracy on test rows, in percent."""
    task, rows, targets = over_separated(seen)
    return 100 * accuracy(logits(Fitter(task, config(*overrides)).fit(model).head, rows), targets)


SEEN = frozenset({"image"})
