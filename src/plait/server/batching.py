"""Items of several requests computed together: a request waits a moment for others, or until a batch is full.

What comes while a batch is computed makes up the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from plait.inference.engine import Engine
from plait.server.items import Ready
from plait.server.logs import log
from plait.server.metrics import Metrics

Row = np.ndarray | None  # (K,) probabilities of one item; None where the encoders failed on it


@dataclass(frozen=True)
class Waiting:
    """The items of one request, and where their rows go. `since`: clock when they came."""

    items: list[Ready]
    rows: asyncio.Future[list[Row]]
    since: float


class Batches:
    """An engine in a thread of its own. Whoever calls `rows` bounds how many items wait; see `limits.Room`.

    Args:
        most: items computed at one time.
        wait: seconds that a request waits for others.
        metrics: where sizes and times are counted.
    """

    def __init__(self, engine: Engine, most: int, wait: float, metrics: Metrics) -> None:
        self.engine, self.most, self.wait, self.metrics = engine, most, wait, metrics
        self._queue: asyncio.Queue[Waiting | None] = asyncio.Queue()

    async def rows(self, items: list[Ready]) -> list[Row]:
        """Rows of one request's items, in their order."""
        rows: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(Waiting(items, rows, time.monotonic()))
        return await rows

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Compute while a block runs; at its end what was asked before is computed."""
        with ThreadPoolExecutor(1, "plait-batches") as thread:
            task = asyncio.create_task(self._run(thread))
            yield
            self._queue.put_nowait(None)
            await task

    async def _run(self, thread: ThreadPoolExecutor) -> None:
        while (first := await self._queue.get()) is not None:
            taken = await self._more(first)
            if heard := [one for one in taken if not one.rows.done()]:  # done: its client is no longer answered
                await self._compute(thread, heard)

    async def _more(self, first: Waiting) -> list[Waiting]:
        """The first request and others, until their items fill a batch or the first has waited long enough."""
        taken, until = [first], asyncio.get_running_loop().time() + self.wait
        while sum(len(one.items) for one in taken) < self.most:
            try:
                async with asyncio.timeout_at(until):
                    one = await self._queue.get()
            except TimeoutError:
                break
            if one is None:
                self._queue.put_nowait(None)
                break
            taken.append(one)
        return taken

    async def _compute(self, thread: ThreadPoolExecutor, taken: list[Waiting]) -> None:
        start = time.monotonic()
        for one in taken:
            self.metrics.stages.observe(start - one.since, stage="wait")
        items = [item for one in taken for item in one.items]
        try:
            found = iter(await asyncio.get_running_loop().run_in_executor(thread, self._in_parts, items))
        except Exception as error:
            for one in taken:
                if not one.rows.done():
                    one.rows.set_exception(error)
            return
        self.metrics.stages.observe(time.monotonic() - start, stage="compute")
        for one in taken:
            rows = [next(found) for _ in one.items]
            if not one.rows.done():
                one.rows.set_result(rows)

    def _in_parts(self, items: list[Ready]) -> list[Row]:
        found: list[Row] = []
        for start in range(0, len(items), self.most):
            part = items[start : start + self.most]
            self.metrics.batches.observe(len(part))
            found += compute(self.engine, part)
        return found


def compute(engine: Engine, items: list[Ready]) -> list[Row]:
    """Rows of one batch. An item that the encoders fail on does not take the others with it."""
    try:
        features = engine.encode([item.pixels for item in items], [item.text for item in items])
        rows = engine.probabilities(features)
        if not np.isfinite(rows).all():
            raise FloatingPointError("a probability is not a number")
        return list(rows)
    except Exception as error:
        if len(items) > 1:
            return [row for item in items for row in compute(engine, [item])]
        log("item_failed", level=40, error=error)
        return [None]
