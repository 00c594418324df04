"""Counters and histograms in Prometheus' text format."""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
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

    def lines(self) -> list[str]:
        with self._lock:
            values = dict(self._values) or {(): 0.0}
        return [_line(self.name, labels, value) for labels, value in values.items()]


class Gauge:
    """A number that is looked up when it is asked for."""

    kind = "gauge"

    def __init__(self, name: str, help: str, read: Callable[[], float | None], **labels: str) -> None:
        self.name, self.help, self._read, self._labels = name, help, read, tuple(labels.items())

    def lines(self) -> list[str]:
        value = self._read()
        return [] if value is None else [_line(self.name, self._labels, value)]


class Histogram:
    """How often a value was at most each bound. Safe to use from threads."""

    kind = "histogram"

    def __init__(self, name: str, help: str, bounds: Sequence[float]) -> None:
        self.name, self.help, self.bounds = name, help, bounds
        self._lock = threading.Lock()
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = defaultdict(float)

    def observe(self, value: float, **labels: str) -> None:
        """Count one value."""
        key = tuple(labels.items())
        with self._lock:
            counts = self._counts.setdefault(key, [0] * (len(self.bounds) + 1))
            counts[bisect.bisect_left(self.bounds, value)] += 1
            self._sums[key] += value

    def lines(self) -> list[str]:
        with self._lock:
            counted = {key: (list(counts), self._sums[key]) for key, counts in self._counts.items()}
        lines = []
        for key, (counts, total) in counted.items():
            below = 0
            for bound, count in zip([*map(_number, self.bounds), "+Inf"], counts, strict=True):
                below += count
                lines.append(_line(f"{self.name}_bucket", (*key, ("le", bound)), below))
            lines += [_line(f"{self.name}_sum", key, total), _line(f"{self.name}_count", key, below)]
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

    def gauge(self, name: str, help: str, read: Callable[[], float | None], **labels: str) -> None:
        """Show one more number."""
        self._all.append(Gauge(name, help, read, **labels))

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
    return str(int(value)) if value == int(value) else repr(value)


def _line(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
