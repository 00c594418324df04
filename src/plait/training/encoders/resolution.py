"""At which side of the pictures a pretrained network is tuned, and at which it is used from then on.

Random crops show things larger than whole pictures do, so a network tuned at one side does best at a somewhat larger
one (Touvron et al. 2019, arXiv:1906.06423, "Fixing the train-test resolution discrepancy"), and tuning at the smaller
side is faster. Whether the larger side pays for these pictures, validation rows say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.config import ImageConfig
from plait.encoders.image import own_size
from plait.progress import say
from plait.training.encoders.probe import fit_probe

SMALLER, GRID = 0.8, 32  # share of the side that features are taken at otherwise; sides are multiples of the stride
LEAST = 64
CLEAR = 0.01  # least fall of the validation loss, in nats, that is worth the larger side

Seen = Callable[[int], tuple[Tensor, Tensor]]


def side_to_tune_at(side: int, config: ImageConfig) -> int:
    """0.8 times the side that features are taken at otherwise; that side itself where none other is to be tried.

    That is so for a side that was asked for (see `sized`), random weights, stages of their own, a folder, which keeps
    its side, and a network that takes no other.
    """
    train = config.train
    if not config.pretrained or not train.enlarge or train.stages is not None or own_size(config.model) is None:
        return side
    return min(side, max(LEAST, GRID * round(SMALLER * side / GRID)))


@dataclass(frozen=True)
class Probed:
    """Two sides in pixels, the validation losses (M,) of linear probes at each, and the side to be used."""

    sides: tuple[int, int]
    losses: tuple[Tensor, Tensor]

    @property
    def used(self) -> int:
        """The larger side where its loss is lower by more than `CLEAR` and by more than the standard error of that."""
        gain = self.losses[0] - self.losses[1]
        error = float(gain.std()) / len(gain) ** 0.5 if len(gain) > 1 else float("inf")
        return self.sides[1] if float(gain.mean()) > max(CLEAR, error) else self.sides[0]

    def tell(self) -> None:
        """Say which side is used, and why."""
        (small, large), (low, high) = self.sides, (float(losses.mean()) for losses in self.losses)
        say(
            f"tuned at {small} px; a linear probe has validation loss {low:.3f} there and {high:.3f} at {large} px: "
            f"features will be taken at {self.used} px"
        )


def probe_sides(sides: tuple[int, int], train: Seen, val: Seen, classes: int) -> Probed:
    """Fit a linear probe at each side; random numbers are the caller's to seed.

    Args:
        sides: that the network was tuned at, and the larger one.
        train, val: features (N, D) and classes (N,) of some rows at a side.
        classes: K.
    """
    losses = []
    for side in sides:
        features, targets = train(side)
        layer = nn.Linear(features.shape[1], classes)
        fit_probe(layer, features, targets)
        unseen, wanted = val(side)
        with torch.no_grad():
            losses.append(F.cross_entropy(layer(unseen), wanted, reduction="none"))
    return Probed(sides, (losses[0], losses[1]))
