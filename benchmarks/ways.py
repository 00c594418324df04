"""Every way to join the heads of a modality that a comparison chooses among, with the loss that it chooses by.

    python -m benchmarks.ways image TRAIN TEST image.model=lite2+lite0
    python -m benchmarks.ways image TRAIN TEST --preset tuned

Losses and accuracies are cross-validated on the held-out rows of TRAIN; those of TEST are left out of training, as in
`plait compare TRAIN --test TEST`, and not looked at.
"""

from __future__ import annotations

import argparse

import torch

from plait.config import configure
from plait.data.partition import divide
from plait.fusion.modality import MODALITIES
from plait.pipeline.prepare import Preparation
from plait.training.heads import modality as heads
from plait.training.heads.pools import Held, Way, choose
from plait.training.heads.task import TaskRows


def main() -> None:
    """Print a row for each way, and which was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modality", choices=MODALITIES)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--preset", default="quick")
    arguments, overrides = parser.parse_known_args()
    config = configure(arguments.preset, overrides=overrides)
    parts = divide(arguments.train, config, test=arguments.test)
    prepared = Preparation(parts.train, config, val=parts.val, val_drawn=parts.val_drawn)
    heads.choose = told  # type: ignore[attr-defined]
    fit = heads.fit_modality(arguments.modality, TaskRows(prepared.task(), config.train), config, prepared.device)
    print(f"chosen: {fit.note}")


def told(held: Held, ways: list[Way], seed: int) -> tuple[Way, float, torch.Tensor]:
    """What `choose` does, each way's figures printed."""
    targets, weights = held.answers.targets, held.answers.weights
    for way in ways:
        _, loss, logits = choose(held, [way], seed)
        right = (logits.argmax(1) == targets).float()
        share = float((right * weights).sum() / weights.sum())
        print(f"loss {loss:.4f}, accuracy {100 * share:.2f} %: {way.name}", flush=True)
    return choose(held, ways, seed)


if __name__ == "__main__":
    main()
