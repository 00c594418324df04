"""Folds of the training rows, which are held out in turn where there are few."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 10.0  # times that a row counts for itself, at most


@dataclass(frozen=True)
class Fold:
    """Numbers of the rows to fit to and of those held out."""

    number: int
    train: Tensor
    test: Tensor


def folds_of(folds: Tensor) -> list[Fold]:
    """One for each number of `folds` (N,)."""
    return [
        Fold(number, (folds != number).nonzero()[:, 0], (folds == number).nonzero()[:, 0])
        for number in sorted(set(folds.tolist()))
    ]


def counts_of(folds: Tensor, targets: Tensor) -> Tensor:
    """What each held-out row counts for, (N,) from its fold and its class.

    A row whose class no other fold has is wrong beyond measure, which new rows are not to a model of all rows: it has
    seen one of their class. Such a row counts for nothing, and in its place those count whose class has least rows
    elsewhere, up to `MOST` times: what is fitted has seen about as few of theirs.
    """
    if not len(targets):
        return torch.zeros(0)
    table = torch.zeros(int(targets.max()) + 1, int(folds.max()) + 1)
    table.index_put_((targets, folds), torch.ones(len(targets)), accumulate=True)
    elsewhere = table.sum(1)[targets] - table[targets, folds]
    unknown = elsewhere == 0
    counts = (~unknown).float()
    if unknown.any() and not unknown.all():
        rarest = elsewhere == elsewhere[~unknown].min()
        counts[rarest] = min(1 + float(unknown.sum() / rarest.sum()), MOST)
    return counts
