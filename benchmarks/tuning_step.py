"""A training step of a pretrained image encoder, with depthwise maps smaller than their kernels widened and without.

    python -m benchmarks.tuning_step --model lite0 --sides 96 128 160

Prints milliseconds an image of each, the two taking turns, and the ratio of the quickest of each.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.timing import Table, seconds
from plait.encoders.image import create_model
from plait.memory import reuse_freed
from plait.training.encoders.depthwise import widen_small_maps
from plait.training.encoders.layers import freeze, keep_statistics, train_mode

BATCH, STEPS, TURNS, CLASSES = 32, 4, 3, 40


def main() -> None:
    """Print a row for each side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite0")
    parser.add_argument("--sides", type=int, nargs="+", default=[96, 128, 160])
    arguments = parser.parse_args()
    reuse_freed()
    torch.manual_seed(0)
    model: Any = create_model(arguments.model, True)
    model.reset_classifier(CLASSES)
    freeze(model, "upper")
    model.get_classifier().requires_grad_(True)
    model.to(memory_format=torch.channels_last)
    widened = copy.deepcopy(model)
    widen_small_maps(widened)
    table = Table()
    table.section(f"training {arguments.model}, batches of {BATCH}, {torch.get_num_threads()} threads")
    for side in arguments.sides:
        turns = [(_step(model, side), _step(widened, side)) for _ in range(TURNS)]
        plain, wide = (1000 * min(times) / (BATCH * STEPS) for times in zip(*turns, strict=True))
        table.add(f"{side} px", ms_an_image_plain=plain, ms_widened=wide, times_as_fast=plain / wide)


def _step(model: Any, side: int) -> float:
    images = torch.randn(BATCH, 3, side, side).to(memory_format=torch.channels_last)
    targets = torch.randint(0, CLASSES, (BATCH,))
    optimiser = torch.optim.AdamW(model.parameters(), 2e-4, fused=True)
    train_mode(model)
    keep_statistics(model)

    def steps() -> None:
        for _ in range(STEPS):
            F.cross_entropy(model(images), targets).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()

    return seconds(steps, 1)


if __name__ == "__main__":
    main()
