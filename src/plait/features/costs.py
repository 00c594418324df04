"""What answering costs: parameters, size on disk and time, measured while encoding and kept by fingerprint."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from plait.encoders.base import Encoder
from plait.encoders.joined import JoinedImageEncoder
from plait.errors import EncoderError
from plait.files import read_json, write_json

ENOUGH = 32  # new inputs of which a figure replaces one from an earlier run
LEAST, CALLS, PATIENCE = 3, 9, 0.3  # single rows that are timed, and seconds after which none beyond the least is
LARGE = 500_000_000  # parameters above which an encoder is not written out to learn its size


@dataclass(frozen=True)
class Cost:
    """Of an encoder, a head or a whole model; costs of parts add up.

    Attributes:
        parameters: numbers that were learnt, those of a TF-IDF too.
        size: bytes on disk.
        alone: seconds of one row by itself, from picture file and text to answer: the quickest of a few.
        batched: seconds a row among many.
        earlier: some of it was measured in another run on this machine, when the features in use were encoded.
    """

    parameters: int
    size: int
    alone: float
    batched: float
    earlier: bool = False

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters, self.size + other.size, self.alone + other.alone,
            self.batched + other.batched, self.earlier or other.earlier,
        )  # fmt: skip

    @property
    def milliseconds(self) -> float:
        """Of one row by itself."""
        return 1000 * self.alone

    @property
    def megabytes(self) -> float:
        """On disk, of a million bytes each."""
        return self.size / 1e6

    @property
    def rows_per_second(self) -> float:
        """Among many; infinite where nothing could be timed."""
        return 1 / self.batched if self.batched else math.inf


class Costs:
    """Costs of encoders, those measured in this run and those kept in a folder, one JSON file a fingerprint."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._now: dict[str, Cost] = {}

    def of(self, encoder: Encoder) -> Cost | None:
        """What an encoder costs on this machine; None where that was never measured."""
        found = self._now.get(encoder.fingerprint) or self._kept(encoder.fingerprint)
        if found is None and isinstance(encoder, JoinedImageEncoder):  # of networks that were measured one by one
            parts = [self.of(one) for one in encoder.parts]
            known = [one for one in parts if one is not None]
            return sum(known[1:], known[0]) if len(known) == len(parts) else None
        return found

    @contextlib.contextmanager
    def measured(
        self, encoder: Encoder, rows: int, single: Callable[[], Sequence[Callable[[], Any]]]
    ) -> Iterator[None]:
        """A block that encodes that many inputs, whose time is taken, once a run.

        Args:
            single: gives functions that each encode one input by itself; asked for only where they are timed.
        """
        calls = single() if rows and self._wanted(encoder, rows) else ()
        if not calls:
            yield
            return
        alone = alone_seconds(calls)  # first, for it opens a closed encoder, which is no row's cost
        start = time.perf_counter()
        yield
        batched = (time.perf_counter() - start) / rows
        parameters: int = encoder.parameters  # type: ignore[attr-defined]
        self._keep(encoder, Cost(parameters, size_of(encoder, parameters), alone, batched))

    def _wanted(self, encoder: Encoder, rows: int) -> bool:
        if encoder.fingerprint in self._now or not hasattr(encoder, "parameters"):  # an ONNX graph tells none
            return False
        return rows >= ENOUGH or self._kept(encoder.fingerprint) is None

    def _keep(self, encoder: Encoder, cost: Cost) -> None:
        self._now[encoder.fingerprint] = cost
        if not getattr(encoder, "quick", False):
            self._write(encoder.fingerprint, cost)

    def _write(self, fingerprint: str, cost: Cost) -> None:
        with contextlib.suppress(OSError):  # then it is measured again
            write_json(self.folder / f"{fingerprint}.json", {"machine": machine(), **asdict(cost)})

    def _kept(self, fingerprint: str) -> Cost | None:
        known = read_json(self.folder / f"{fingerprint}.json")
        try:
            if known.pop("machine") != machine():
                return None
            return replace(Cost(**known), earlier=True)
        except (AttributeError, KeyError, TypeError):
            return None


def alone_seconds(calls: Sequence[Callable[[], Any]]) -> float:
    """Seconds of the quickest of a few calls, after one that warms up: a busy neighbour only makes it slower."""
    calls[0]()
    found: list[float] = []
    end = time.perf_counter() + PATIENCE
    while len(found) < LEAST or (len(found) < CALLS and time.perf_counter() < end):
        start = time.perf_counter()
        calls[len(found) % len(calls)]()
        found.append(time.perf_counter() - start)
    return min(found)


def size_of(encoder: Encoder, parameters: int) -> int:
    """Bytes of an encoder's files in a run; 4 a parameter where it is very large or cannot be written."""
    if parameters <= LARGE:
        with contextlib.suppress(OSError, EncoderError), tempfile.TemporaryDirectory() as folder:
            encoder.save(Path(folder, "encoder"))
            return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return 4 * parameters


def machine() -> str:
    """The processor and how many of its cores there are: what times of another machine are told apart by."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def evenly(items: Sequence[Any], most: int = CALLS) -> list[Any]:
    """Some of the items, evenly spaced."""
    return list(items[:: max(1, len(items) // most)][:most])
