"""What a network costs on this machine: its parameters, its training step, its exported inference."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from plait.errors import ConfigError, EncoderError
from plait.search.reward import called
from plait.training.loop import autocast

if TYPE_CHECKING:
    from torch import nn

    from plait.config import ImageTrainConfig

REPEATS = 7  # steps of either network that a median is of, at least
MOST = 35  # and at most, where times spread
STEADY = 0.2  # spread of the middle half, by the median, at which they do not
INFERENCES = 30


def params_of(model: nn.Module) -> int:
    """Parameters of a network."""
    return sum(parameter.numel() for parameter in model.parameters())


@dataclass(frozen=True)
class Stepper:
    """Times training steps of networks on pixels of noise, as `tune_image` does them: AdamW, a batch, a precision.

    Args:
        train: ``image.train``: batch and precision are used.
        device: where.
        classes: K.
        clock: seconds; `time.process_time` is the one for a single thread beside busy neighbours.
    """

    train: ImageTrainConfig
    device: torch.device
    classes: int
    clock: Callable[[], float] = time.perf_counter

    def step(self, model: nn.Module, size: int) -> Callable[[], float]:
        """A function that does one step and returns its seconds."""
        model = model.to(self.device).to(memory_format=torch.channels_last).train()
        optimiser = torch.optim.AdamW(model.parameters(), 1e-4, fused=self.device.type in ("cpu", "cuda"))
        rng = torch.Generator().manual_seed(0)
        pixels = torch.randn(self.train.batch, 3, size, size, generator=rng)
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        targets = torch.randint(0, self.classes, (self.train.batch,), generator=rng).to(self.device)

        def once() -> float:
            start = self.clock()
            with autocast(self.train.precision, self.device):
                loss = F.cross_entropy(model(pixels), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            return self.clock() - start

        return once


def in_turns(first: Callable[[], float], second: Callable[[], float], repeats: int = REPEATS) -> tuple[float, float]:
    """Median seconds of two things done in turns, so that a noisy neighbour hits both; the first of each is left out.

    Args:
        first, second: do it once and return the seconds.
        repeats: of each, if their times are steady; else up to `MOST`.
    """
    first(), second()
    own: list[float] = []
    other: list[float] = []
    while len(own) < repeats or (len(own) < MOST and not (_steady(own) and _steady(other))):
        own.append(first())
        other.append(second())
    return statistics.median(own), statistics.median(other)


def _steady(seconds: list[float]) -> bool:
    low, middle, high = statistics.quantiles(seconds, n=4)
    return high - low <= STEADY * middle


def inference_ms(model: nn.Module, size: int, repeats: int = INFERENCES) -> float:
    """Median milliseconds of one picture in ONNX Runtime, the network exported as `plait export` does.

    Raises:
        ConfigError: ONNX or its runtime is not installed.
    """
    from plait.encoders.image import TimmEncoder, data_config
    from plait.encoders.onnx import Graph

    try:
        from plait.export.graphs import image_graph

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            image_graph(TimmEncoder(model, data_config(model, size), "candidate"), path)
            graph = Graph(path)
    except (ImportError, EncoderError) as error:
        if isinstance(error, EncoderError) and "ONNX Runtime" not in str(error):
            raise
        raise ConfigError(f"{called('limits.ms')} measures exported networks; pip install 'plait[onnx]'") from None
    pixels = np.zeros((1, 3, size, size), np.uint8)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        graph({"pixels": pixels})
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:])
