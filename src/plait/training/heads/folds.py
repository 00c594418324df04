"""Folds of the training rows, which are held out in turn where there are few."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LIKELY = 0.75  # of the classes that are known, that one it never saw is as likely as, or likelier than


@dataclass(frozen=True)
class Fold:
    """Numbers of the rows to fit to and of those held out, and which of the K classes the former have, (K,) bool."""

    number: int
    train: Tensor
    test: Tensor
    known: Tensor

    def judged(self, logits: Tensor) -> Tensor:
        """What is fitted to the fold says of other rows, (R, K) logits: of classes it never saw, as of a likely one.

        It would be wrong beyond measure where one of them is right, which a model of all rows is not. With such rows
        left out answers would look surer than they will be on new ones.
        """
        if self.known.all() or not self.known.any():
            return logits
        return torch.where(self.known, logits, logits[:, self.known].quantile(LIKELY, dim=1, keepdim=True))


def folds_of(folds: Tensor, targets: Tensor, classes: int) -> list[Fold]:
    """One for each number of `folds` (N,), of rows with classes `targets` (N,) of K."""
    found = []
    for number in sorted(set(folds.tolist())):
        train = (folds != number).nonzero()[:, 0]
        known = torch.bincount(targets[train], minlength=classes) > 0
        found.append(Fold(number, train, (folds == number).nonzero()[:, 0], known))
    return found
