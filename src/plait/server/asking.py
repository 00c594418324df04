"""From an HTTP request to items that are ready to be computed; images are decoded in threads, off the batches' path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from plait.server import items, requests
from plait.server.items import Raw, Ready
from plait.server.limits import RefusedError, busy
from plait.server.service import LARGE, Exchange, Service, require_in_time

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """One request as the batches take it; see `requests.Body`."""

    items: list[Ready | RefusedError]
    batch: bool
    exchange: Exchange
    since: float


async def ask(request: Request) -> Asked:
    """Read, check and decode one request.

    Raises:
        RefusedError: nothing of it can be answered.
    """
    service: Service = request.app.state.service
    exchange: Exchange = request.scope["plait.exchange"]
    content_type = request.headers.get("content-type", "")
    requests.require_media_type(content_type)
    service.require_room(1)
    body = await read_body(request, service, exchange)
    read = time.monotonic()
    service.metrics.stages.observe(read - exchange.start, stage="read")
    parsed = await _run(service.small_pool, partial(requests.parse, content_type, body, service.limits))
    del body
    service.admit(exchange, len(parsed.items))
    found = await asyncio.gather(*(_ready(item, service, exchange) for item in parsed.items))
    if not parsed.batch and isinstance(found[0], RefusedError):
        raise found[0]
    for refusal in found:
        if isinstance(refusal, RefusedError):
            service.metrics.refused.add(reason=refusal.kind)
    now = time.monotonic()
    service.metrics.stages.observe(now - read, stage="decode")
    return Asked(list(found), parsed.batch, exchange, now)


async def read_body(request: Request, service: Service, exchange: Exchange) -> bytes:
    """A whole body, within the limits of bytes and seconds. Raises RefusedError beyond them."""
    limits = service.limits
    large = RefusedError(
        413, "body_too_large", f"a body of more than {limits.bytes:,} bytes; send less at a time, or raise --max-bytes"
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > limits.bytes:
        raise large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.bytes:
                    raise large
                service.hold(exchange, len(chunk))
                body += chunk
    except TimeoutError:
        exchange.slow = True
        message = f"the body did not come within {limits.body_seconds:g} s; send it faster, or raise --max-body-seconds"
        raise RefusedError(408, "slow_body", message) from None
    except ClientDisconnect:
        raise RefusedError(400, "gone", "the connection was closed before the whole body came") from None
    return bytes(body)


async def _ready(raw: Raw | RefusedError, service: Service, exchange: Exchange) -> Ready | RefusedError:
    """One item, or why it is none."""
    if isinstance(raw, RefusedError):
        return raw
    try:
        checked = await _run(service.small_pool, partial(items.check, raw, service.engine, service.limits))
        work = partial(_decode, checked, service, exchange)
        if checked.pixels <= LARGE:
            return await _run(service.small_pool, work) if checked.image else items.decode(checked, service.engine)
        service.hold_large()
        try:
            return await _run(service.large_pool, work)
        finally:
            service.large -= 1
    except RefusedError as refusal:
        return refusal


def _decode(checked: items.Checked, service: Service, exchange: Exchange) -> Ready:
    require_in_time(exchange)
    return items.decode(checked, service.engine)


async def _run(pool: Executor, work: Callable[[], T]) -> T:
    """In a thread of a pool."""
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
    except RuntimeError as error:
        if "shutdown" not in str(error):
            raise
        raise busy("it is stopping") from None
