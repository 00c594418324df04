"""``POST /find``: the rows of an index most like the picture, the words or both of a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from plait.errors import DataError
from plait.server import body, items
from plait.server.items import Raw, Ready
from plait.server.limits import Limits, RefusedError, Room, busy
from plait.server.metrics import Metrics

if TYPE_CHECKING:
    from plait.retrieval.index import Index

MOST = 100  # rows of one answer
KEYS = (*body.KEYS, "k", "where")
SHAPE = 'send {"image": BASE64, "text": "...", "k": 10, "where": "COLUMN = VALUE"}; an image or a text is needed'


@dataclass(frozen=True)
class Sought:
    """What a request looks for."""

    item: Raw
    k: int
    where: str | None


def parse(content_type: str, content: bytes, limits: Limits) -> Sought:
    """Read a whole body. Raises RefusedError as `plait.server.body.parse`."""
    media = body.require_media_type(content_type)
    if not content:
        raise RefusedError(400, "empty", f"the body is empty; {SHAPE}")
    if media == "application/json":
        value = body.json_object(content, limits, SHAPE)
        raw, k = body.one_item(value, KEYS), value.get("k")
    else:
        value = asyncio.run(body.form_values(content_type, content, limits, KEYS))
        raw, k = Raw(value.get("image"), value.get("text")), body.as_number(value.get("k"))
    number = body.whole_number(10 if k is None else k, MOST)
    if number is None:
        raise RefusedError(422, "k", f"k is no whole number from 1 to {MOST}; send one that is")
    where = value.get("where")
    if not isinstance(where, str | None):
        raise RefusedError(422, "shape", "where is no text; send 'COLUMN = VALUE' as a string")
    return Sought(raw, number, where)


class Find:
    """Answers requests while it is `running`, one after another, in a thread of its own."""

    def __init__(self, index: Index, limits: Limits, metrics: Metrics) -> None:
        self.index, self.limits, self.metrics = index, limits, metrics
        self.queue = Room(limits.queue, "{} searches are waiting")
        self._thread: ThreadPoolExecutor | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer while a block runs; at its end what was asked before is answered."""
        with ThreadPoolExecutor(1, "plait-find") as self._thread:
            yield
        self._thread = None

    async def respond(self, request: Request) -> Response:
        """Raises RefusedError where a request cannot be answered."""
        content_type = request.headers.get("content-type", "")
        body.require_media_type(content_type)
        if self._thread is None:
            raise busy("it is stopping")
        with self.queue.held(1):
            content = b"".join([chunk async for chunk in request.stream()])
            request.scope["plait.items"] = 1
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._find, content_type, content)
        self.metrics.items.add(1)
        return JSONResponse({"found": found})

    def _find(self, content_type: str, content: bytes) -> list[dict[str, Any]]:
        start, engine = time.monotonic(), self.index.space.engine
        sought = parse(content_type, content, self.limits)
        ready: Ready = items.decode(items.check(sought.item, engine, self.limits), engine)
        self.metrics.stages.observe(time.monotonic() - start, stage="decode")
        start = time.monotonic()
        try:
            return self.index.nearest(engine.encode([ready.pixels], [ready.text]), sought.k, sought.where)
        except DataError as error:  # of the filter: said in the parameters' words, as a client knows them
            raise RefusedError(422, "where", str(error)) from None
        finally:
            self.metrics.stages.observe(time.monotonic() - start, stage="compute")
