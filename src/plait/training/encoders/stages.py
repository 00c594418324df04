"""Progressive learning: which image size and which regularisation at which epoch."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from torch import nn

from plait.config import ImageTrainConfig, Stage

EPOCHS = {True: 10, False: 16}  # from pretrained weights, from random ones

# Tan & Le 2021 (arXiv:2104.00298), table 6, EfficientNetV2-S: first and last of four stages.
STAGES = 4
SIZE = (128 / 300, 1.0)
TUNED_SIZE = (0.5, 1.0)  # a network that knows one size forgets much below half of it
RANDAUGMENT = (5.0, 15.0)
DROPOUT = (0.1, 0.3)
DROP_PATH = (0.0, 0.2)  # the paper holds 0.2 throughout; it grows here with the rest
MIXUP = (0.0, 0.0)
CROPPED = (0.3, 0.9)  # most that a random crop takes away; the paper crops alike in every stage

GRID, SMALLEST = 16, 48  # sizes are multiples of GRID: odd feature maps are slow; below SMALLEST hardly any is left


def plan(config: ImageTrainConfig, size: int, pretrained: bool = False) -> tuple[Stage, ...]:
    """The stages of a training that ends at `size` pixels.

    Given stages are taken as they are. Else there are four (fewer with fewer epochs), from 0.43 of the size (0.5 for
    a pretrained network) to the whole, regularisation growing linearly (Tan & Le 2021, algorithm 1) up to ``strength``
    times that of EfficientNetV2-S; epochs that do not divide go to the small, fast stages. Without `progressive`, and
    for a pretrained network unless it is asked for, there is one stage: the last of these, for all epochs. A few epochs
    at sizes that it will not be used at cost such a network more than they teach it.
    """
    if config.stages is not None:
        return config.stages
    epochs = config.epochs or EPOCHS[pretrained]
    progressive = not pretrained if config.progressive is None else config.progressive
    count = min(STAGES, epochs) if progressive else 1
    first, last = TUNED_SIZE if pretrained else SIZE
    stages = []
    for i in range(count):
        share = i / (count - 1) if count > 1 else 1.0

        def at(ends: tuple[float, float], share: float = share) -> float:
            return round(config.strength * (ends[0] + share * (ends[1] - ends[0])), 4)

        fraction = first + share * (last - first)
        stages.append(
            Stage(
                size=size if share == 1 else min(size, max(SMALLEST, GRID * round(fraction * size / GRID))),
                epochs=epochs // count + (i < epochs % count),
                dropout=at(DROPOUT),
                drop_path=at(DROP_PATH),
                randaugment=round(at(RANDAUGMENT)),
                mixup=at(MIXUP),
                crop=1 - at(CROPPED),
            )
        )
    return tuple(stages)


def stage_at(stages: tuple[Stage, ...], epoch: int) -> Stage:
    """The stage of an epoch, counted from 0; the last one beyond the end."""
    for stage, end in zip(stages, accumulate(stage.epochs for stage in stages), strict=True):
        if epoch < end:
            return stage
    return stages[-1]


def regularise(model: Any, stage: Stage) -> None:
    """Set a network's dropout and stochastic depth to those of a stage."""
    from timm.layers.drop import DropPath

    paths = [module for module in model.modules() if isinstance(module, DropPath)]
    for i, module in enumerate(paths):
        module.drop_prob = stage.drop_path * (i + 1) / len(paths)
    if hasattr(model, "drop_rate"):
        model.drop_rate = stage.dropout
    head = getattr(model, "head_drop", None) or getattr(getattr(model, "head", None), "drop", None)
    if isinstance(head, nn.Dropout):
        head.p = stage.dropout
