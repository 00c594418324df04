"""``POST /predict``: from a body to items, decoded in threads and computed with those of other requests, to answers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from plait.inference.engine import Engine
from plait.inference.predictions import TOP, best
from plait.server import body, items
from plait.server.batching import Batches
from plait.server.items import Checked, Raw, Ready
from plait.server.limits import Limits, RefusedError, Room, busy
from plait.server.metrics import Metrics

LARGE = 4_000_000  # pixels; larger images are decoded one after another, so that memory and small ones are safe
LARGE_WAITING = 8
FAILED = "the server failed on this item; its log says where"

T = TypeVar("T")


class Predict:
    """Answers requests while it is `running`.

    Args:
        batch: items computed at one time. wait: seconds a request waits for others.
    """

    def __init__(self, engine: Engine, limits: Limits, metrics: Metrics, batch: int, wait: float) -> None:
        self.engine, self.limits, self.metrics = engine, limits, metrics
        self.queue = Room(limits.queue, "{} items are waiting")
        self.large = Room(LARGE_WAITING, "{} large images are waiting")
        self.batches = Batches(engine, batch, wait, metrics)
        self.small_pool = ThreadPoolExecutor(min(4, os.cpu_count() or 2), "plait-decode")
        self.large_pool = ThreadPoolExecutor(1, "plait-decode-large")
        self.is_running = False
        metrics.gauge("plait_ready", "1 where requests are answered.", lambda: int(self.is_running))
        metrics.gauge("plait_items_now", "Items decoded, waiting or computed now.", lambda: self.queue.taken)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer while a block runs; at its end what was asked before is answered."""
        with self.small_pool, self.large_pool:
            async with self.batches.running():
                self.is_running = True
                yield
                self.is_running = False

    async def respond(self, request: Request) -> Response:
        """Raises RefusedError where nothing of the request can be answered."""
        content_type = request.headers.get("content-type", "")
        body.require_media_type(content_type)
        if not self.is_running:
            raise busy("it is stopping")
        self.queue.require(1)
        content = b"".join([chunk async for chunk in request.stream()])
        start = time.monotonic()
        asked = await _run(self.small_pool, body.parse, content_type, content, self.limits, len(self.engine.labels))
        del content
        request.scope["plait.items"] = len(asked.items)
        with self.queue.held(len(asked.items)):
            found = await asyncio.gather(*map(self._ready, asked.items))
            asked.items.clear()  # images as they came may be large
            if not asked.batch and isinstance(found[0], RefusedError):
                raise found[0]
            self.metrics.stages.observe(time.monotonic() - start, stage="decode")
            ready = [item for item in found if isinstance(item, Ready)]
            rows = await self.batches.rows(ready) if ready else []
        answers = answers_of(self.engine.labels, found, rows, asked.top)
        self.metrics.items.add(sum("error" not in one for one in answers))
        for item in found:
            if isinstance(item, RefusedError):
                self.metrics.refused.add(reason=item.kind)
        if asked.batch:
            return JSONResponse({"answers": answers})
        return JSONResponse(answers[0], 500 if "error" in answers[0] else 200)

    async def _ready(self, raw: Raw | RefusedError) -> Ready | RefusedError:
        """One item, checked and decoded in threads, or why it is none."""
        if isinstance(raw, RefusedError):
            return raw
        try:
            found = await _run(self.small_pool, self._read, raw)
            if isinstance(found, Ready):
                return found
            with self.large.held(1):
                return await _run(self.large_pool, items.decode, found, self.engine)
        except RefusedError as refusal:
            return refusal

    def _read(self, raw: Raw) -> Ready | Checked:
        checked = items.check(raw, self.engine, self.limits)
        return checked if checked.pixels > LARGE else items.decode(checked, self.engine)


async def _run(pool: Executor, work: Callable[..., T], *args: Any) -> T:
    """In a thread of a pool."""
    return await asyncio.get_running_loop().run_in_executor(pool, work, *args)


def answers_of(
    labels: list[str], items: Sequence[Ready | RefusedError], rows: Sequence[np.ndarray | None], top: int | None = None
) -> list[dict[str, Any]]:
    """Each item as ``label, confidence, top5, modalities``, or ``{"error": ...}``.

    Args:
        rows: (K,) probabilities of each item that is ready; None where the encoders failed on it.
        top: how many labels were asked for; they are then under ``top`` instead of ``top5``.
    """
    left = iter(rows)
    return [
        {"error": item.message} if isinstance(item, RefusedError) else _answer(labels, item, next(left), top)
        for item in items
    ]


def _answer(labels: list[str], item: Ready, row: np.ndarray | None, top: int | None) -> dict[str, Any]:
    if row is None:
        return {"error": FAILED}
    found = best(labels, row, TOP if top is None else top)
    return {**found[0], "top5" if top is None else "top": found, "modalities": item.modalities}
