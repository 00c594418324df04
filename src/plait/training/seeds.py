"""What every training shares, without the import of a trainer: its seed, its curve, its learning rate."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

WARMUP = 0.1  # share of the steps in which the learning rate rises
Curve = list[dict[str, float]]  # of each epoch its number, losses and accuracies


@contextmanager
def seeded(seed: int, gpus: bool = True) -> Iterator[None]:
    """Seed PyTorch, NumPy and Python's random for a block, and put their states back afterwards.

    Args:
        gpus: those, too. A forked worker must leave them alone: CUDA cannot be initialised in it.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if gpus else ()):
        if gpus:
            torch.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def warm_cosine(step: int, steps: int) -> float:
    """Share of the learning rate in a step from 0 to steps: a linear rise, then half a cosine down to 0."""
    warm = math.ceil(WARMUP * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))
