"""Timing, and a table that is printed line by line and kept for JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """Wall seconds of the quickest of some calls, after one that warms up."""
    function()
    return min(_once(function) for _ in range(repeats))


def percentiles(function: Callable[[], Any], calls: int = 200) -> dict[str, float]:
    """Milliseconds of single calls, after ten that warm up."""
    for _ in range(10):
        function()
    times = np.array([_once(function) for _ in range(calls)]) * 1000
    return {name: float(np.percentile(times, share)) for name, share in (("p50", 50), ("p95", 95), ("p99", 99))}


def _once(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class Table:
    """Lines of a table; `values` holds them by section and name."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._section: dict[str, Any] = self.values

    def section(self, name: str) -> None:
        """Start a section."""
        self._section = self.values.setdefault(name, {})
        print(f"\n{name}", flush=True)

    def say(self, line: str) -> None:
        """A line of its own."""
        self.values.setdefault("about", []).append(line)
        print(line, flush=True)

    def add(self, name: str, **values: float) -> None:
        """One row: numbers with their names."""
        self._section[name] = {key: round(value, 4) for key, value in values.items()}
        shown = "   ".join(
            f"{value:,.{0 if value >= 100 else 2}f} {key.replace('_', ' ')}" for key, value in values.items()
        )
        print(f"  {name:<44}{shown}", flush=True)
