"""Counters and histograms in Prometheus' text format."""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

Labels = tuple[tuple[str, str], ...]


class Counter:
    """A number for each set of labels that only grows. Safe to use from threads."""

    kind = "counter"

    def __init__(self, name: str, help: str) -> None:
        self.name, self.help = name, help
        self._lock = threading.Lock()
        self._values: dict[Labels, float] = defaultdict(float)

    def add(self, amount: float = 1, **labels: str) -> None:
        """Count."""
        with self._lock:
            self._values[tuple(labels.items())] += amount

    def total(self) -> int:
        """Of all labels."""
        with self._lock:
            return int(sum(self._values.values()))

    def lines(self) -> list[str]:
        with self._lock:
            values = dict(self._values) or {(): 0.0}
        return [_line(self.name, labels, value) for labels, value in values.items()]


@dataclass(frozen=True)
class Gauge:
    """A number that is looked up when it is asked for."""

    name: str
    help: str
    read: Callable[[], float | None]
    kind = "gauge"

    def lines(self) -> list[str]:
        value = self.read()
        return [] if value is None else [_line(self.name, (), value)]


class Histogram:
    """How often a value was at most each bound. Safe to use from threads."""

    kind = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float]) -> None:
        self.name, self.help, self.bounds = name, help, (*bounds, float("inf"))
        self._lock = threading.Lock()
        self._values: dict[Labels, tuple[list[int], float]] = {}

    def observe(self, value: float, **labels: str) -> None:
        """Count one value."""
        key = tuple(labels.items())
        with self._lock:
            counts, total = self._values.get(key) or ([0] * len(self.bounds), 0.0)
            counts[bisect.bisect_left(self.bounds, value)] += 1
            self._values[key] = counts, total + value

    def lines(self) -> list[str]:
        with self._lock:
            values = {key: (list(accumulate(counts)), total) for key, (counts, total) in self._values.items()}
        lines = []
        for key, (below, total) in values.items():
            for bound, count in zip(self.bounds, below, strict=True):
                lines.append(_line(f"{self.name}_bucket", (*key, ("le", _number(bound))), count))
            lines += [_line(f"{self.name}_sum", key, total), _line(f"{self.name}_count", key, below[-1])]
        return lines


class Metrics:
    """All that ``/metrics`` shows."""

    def __init__(self) -> None:
        self.requests = Counter("plait_requests_total", "Answered requests by path and HTTP status.")
        self.refused = Counter("plait_refused_total", "Refused requests and items by reason.")
        self.items = Counter("plait_items_total", "Items that got a label.")
        self.accepted = Counter("plait_accepted_total", "Requests to /predict whose head was read.")
        self.answered = Counter("plait_answered_total", "Requests to /predict that got a response.")
        self.seconds = Histogram("plait_request_seconds", "From a request's head to its response.", SECONDS)
        self.stages = Histogram("plait_stage_seconds", "Parts of answering: read, decode, wait, compute.", SECONDS)
        self.batches = Histogram("plait_batch_items", "Items computed at one time.", SIZES)
        start = time.time()
        self._all: list[Counter | Gauge | Histogram] = [
            *(self.requests, self.refused, self.items, self.accepted, self.answered),
            *(self.seconds, self.stages, self.batches),
            Gauge("process_resident_memory_bytes", "Memory of the server.", resident_bytes),
            Gauge("process_start_time_seconds", "When the server started.", lambda: start),
        ]

    def gauge(self, name: str, help: str, read: Callable[[], float | None]) -> None:
        """Show one more number."""
        self._all.append(Gauge(name, help, read))

    def text(self) -> str:
        """The exposition format, version 0.0.4."""
        lines = []
        for metric in self._all:
            if found := metric.lines():
                lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}", *found]
        return "\n".join(lines) + "\n"


def resident_bytes() -> float | None:
    """Memory this process holds now; None where the system does not tell."""
    try:
        return float(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return None


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)


def _line(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{key}="{text}"' for key, text in labels)  # nothing a user sent, so nothing to escape
    return f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}"
