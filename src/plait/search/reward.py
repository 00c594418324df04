"""What a search maximises, and what it refuses before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plait.errors import option

TIME, SIZE = -0.07, -0.05  # w and v of Tan & Le 2021, section 3.2


def reward(accuracy: float, time: float, size: float, w: float = TIME, v: float = SIZE) -> float:
    """A · S^w · P^v (Tan & Le 2021, section 3.2; after Tan et al. 2019, equation 2).

    Args:
        accuracy: A, 0 to 1.
        time: S, seconds of a training step by those of the reference.
        size: P, parameters by those of the reference.
        w, v: how much time and size count; negative, so that less of them is worth more.
    """
    return float(accuracy * time**w * size**v)


_FLAGS = {
    "limits.params": "max-params", "limits.step_ms": "max-step-ms", "limits.ms": "max-ms", "epochs": "proxy-epochs",
    "rows": "proxy-rows", "w": "time-exponent", "v": "size-exponent",
}  # fmt: skip


def called(name: str) -> str:
    """What to call a field of a `Plan`, or of its limits: by its name, on the command line by its flag."""
    return option(f"--{_FLAGS.get(name, name.replace('_', '-'))}", name)


@dataclass(frozen=True)
class Cost:
    """What a network costs, known before it is trained.

    Attributes:
        params: number of them, the classifier's, too.
        step_ms: median milliseconds of a training step; None where it was not measured.
        step_ratio: that by the reference's own, measured in turns.
        ms: median milliseconds of an exported inference of one picture; None where it was not measured.
    """

    params: int
    step_ms: float | None = None
    step_ratio: float | None = None
    ms: float | None = None


@dataclass(frozen=True)
class Limits:
    """The most that a network may cost; None: anything."""

    params: float | None = None
    ms: float | None = None
    step_ms: float | None = None

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self.params is not None or self.ms is not None or self.step_ms is not None

    def broken(self, cost: Cost) -> list[str]:
        """One line on each limit that a cost breaks."""
        return [
            f"{_told(name, found)}, above {called(f'limits.{name}')} {_told(name, limit)}"
            for name, found, limit in self._pairs(cost)
            if found > limit
        ]

    def excess(self, cost: Cost) -> float:
        """How many times its tightest limit a cost is; 0 without limits."""
        return max((found / limit for _, found, limit in self._pairs(cost)), default=0.0)

    def _pairs(self, cost: Cost) -> list[tuple[str, float, float]]:
        known = (
            ("params", cost.params, self.params),
            ("step_ms", cost.step_ms, self.step_ms),
            ("ms", cost.ms, self.ms),
        )
        return [(name, f, limit) for name, f, limit in known if f is not None and limit is not None]


def _told(name: str, value: float) -> str:
    if name == "params":
        return f"{value:,.0f} parameters"
    return f"{value:.3g} ms a step" if name == "step_ms" else f"{value:.3g} ms a picture"


def front(accuracy: Sequence[float], *costs: Sequence[float]) -> np.ndarray:
    """(N,) bool: the points that no other equals or betters in everything and betters in something.

    Args:
        accuracy: (N,) more is better.
        costs: (N,) each, less is better.
    """
    points = np.stack([-np.asarray(accuracy, float), *(np.asarray(cost, float) for cost in costs)], axis=1)
    no_worse = (points[None] <= points[:, None]).all(-1)
    better = (points[None] < points[:, None]).any(-1)
    beaten: np.ndarray = np.any(no_worse & better, axis=1)
    return ~beaten
