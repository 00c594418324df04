"""The outermost part of the application: token, clock, log and metrics of every request."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plait.server.limits import RefusedError, late
from plait.server.logs import log
from plait.server.service import Exchange, Service

OPEN = ("/health", "/ready")  # asked by machines that have no token
PATHS = ("/predict", *OPEN, "/info", "/metrics", "/openapi.json")
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
DRAIN_SECONDS = 2.0
DRAIN = 4  # times the limit of a body


class Gate:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = Passage(self.service, scope, receive, send)
        work = asyncio.ensure_future(self._answer(passage))
        done, _ = await asyncio.wait({work}, timeout=self.service.limits.seconds)
        if not done:
            # The work goes on unheard: cancelling it would leave its place in LitServe's table of answers for ever.
            await passage.refuse(late(self.service.limits.seconds))
        else:
            work.result()

    async def _answer(self, passage: Passage) -> None:
        scope, service = passage.scope, self.service
        try:
            if scope["path"] not in OPEN and not service.allows(passage.headers.get(b"authorization")):
                message = "no valid token; send the header 'Authorization: Bearer TOKEN'"
                raise RefusedError(401, "token", message, {"www-authenticate": "Bearer"})
            await self.app(scope, passage.receive, passage.send)
        except RefusedError as refusal:
            await passage.refuse(refusal)
        except Exception as error:
            log("failed", logging.ERROR, error, id=passage.id)
            await passage.refuse(
                RefusedError(500, "failed", f"the server failed; its log says where (id {passage.id})")
            )
        finally:
            service.release(passage.exchange)


class Passage:
    """One request and its response, watched."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self.service, self.scope, self._receive, self._send = service, scope, receive, send
        self.exchange: Exchange = service.begin()
        scope["plait.exchange"] = self.exchange
        self.id = secrets.token_hex(8)
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.path = scope["path"] if scope["path"] in PATHS else "other"
        self.counts = self.path == "/predict" and scope["method"] == "POST"
        self.size = 0
        self.whole = False
        self.status = 0
        self.refused = False
        if self.counts:
            service.accepted += 1
            service.metrics.accepted.add()

    async def receive(self) -> Message:
        """What the client sends next."""
        message = await self._receive()
        self.size += len(message.get("body", b""))
        self.whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send what the application answers; after a refusal it goes nowhere."""
        if not self.refused:
            await self._pass(message)

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
            if not await self._drain():
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._done()

    async def refuse(self, refusal: RefusedError) -> None:
        """Answer with an error, where no answer has begun."""
        if self.status or self.refused:
            return
        self.refused = True
        self.service.metrics.refused.add(reason=refusal.kind)
        response = JSONResponse({"error": refusal.message}, refusal.status, refusal.headers)
        await response(self.scope, self._receive, self._pass)

    async def _drain(self) -> bool:
        """Read the rest of a body, so that the client gets to read the answer; False if it is too long."""
        if self.whole:
            return True
        if self.exchange.slow or b"expect" in self.headers:
            return False
        bound = self.size + DRAIN * self.service.limits.bytes
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.whole and self.size <= bound:
                    await self.receive()
        except TimeoutError:
            return False
        return self.whole

    def _done(self) -> None:
        """Count and log what was answered."""
        seconds = time.monotonic() - self.exchange.start
        metrics = self.service.metrics
        metrics.requests.add(path=self.path, status=str(self.status))
        metrics.seconds.observe(seconds, path=self.path)
        if self.counts:
            self.service.answered += 1
            metrics.answered.add()
        method = self.scope["method"] if self.scope["method"] in METHODS else "other"
        fields: dict[str, Any] = {"id": self.id, "method": method, "path": self.path, "status": self.status}
        level = logging.DEBUG if self.path in (*OPEN, "/metrics") else logging.INFO
        log("request", level, **fields, seconds=round(seconds, 4), bytes=self.size, items=self.exchange.items)
