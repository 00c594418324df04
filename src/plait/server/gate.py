"""The outermost part of the application: token, clock, body, log and metrics of every request, and every refusal."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plait.server.limits import Limits, RefusedError, Room
from plait.server.logs import log
from plait.server.metrics import Metrics

OPEN = ("/health", "/ready")  # asked by machines that have no token
ASKED = ("/predict", "/find")  # what a server is for
PATHS = (*ASKED, *OPEN, "/info", "/metrics", "/openapi.json")
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
BODIES = 16  # of the largest size, held at one time
DRAIN_SECONDS = 2.0
DRAIN = 4  # times the limit of a body


class Gate:
    """ASGI middleware around everything else; what the application raises is answered here."""

    def __init__(self, app: ASGIApp, limits: Limits, token: bytes | None, metrics: Metrics) -> None:
        self.app, self.limits, self.token, self.metrics = app, limits, token, metrics
        self.bodies = Room(BODIES * limits.bytes, "it holds as many bodies as it may")
        metrics.gauge("plait_held_bytes", "Bytes of bodies held now.", lambda: self.bodies.taken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = Passage(self, scope, receive, send)
        clock = asyncio.timeout(self.limits.seconds)
        try:
            async with clock:
                self._require_token(passage)
                await self.app(scope, passage.receive, passage.send)
        except RefusedError as refusal:
            await passage.refuse(refusal)
        except Exception as error:
            if clock.expired():
                await passage.refuse(self.limits.late())
            else:
                log("failed", logging.ERROR, error, id=passage.id)
                message = f"the server failed; its log says where (id {passage.id})"
                await passage.refuse(RefusedError(500, "failed", message))
        finally:
            self.bodies.leave(passage.held)

    def _require_token(self, passage: Passage) -> None:
        """The time it takes tells nothing of the token."""
        if self.token is None or passage.scope["path"] in OPEN:
            return
        scheme, _, token = passage.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self.token):
            message = "no valid token; send the header 'Authorization: Bearer TOKEN'"
            raise RefusedError(401, "token", message, {"www-authenticate": "Bearer"})


class Passage:
    """One request and its response, watched."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self.gate, self.scope, self._receive, self._send = gate, scope, receive, send
        self.start = time.monotonic()
        self.id = secrets.token_hex(8)
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.path = scope["path"] if scope["path"] in PATHS else "other"
        self.counts = self.path in ASKED and scope["method"] == "POST"
        self.size = self.held = self.status = 0
        self.whole = self.slow = False
        if self.counts:
            gate.metrics.accepted.add()

    async def receive(self) -> Message:
        """What the application reads of the body. Raises RefusedError where it is too long, too slow or cut short."""
        limits = self.gate.limits
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit():
            limits.require("bytes", int(declared[:18]))
        try:
            async with asyncio.timeout(self.start + limits.body_seconds - time.monotonic()):
                message = await self._next()
        except TimeoutError:
            self.slow = True
            raise limits.slow() from None
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "gone", "the connection was closed before the whole body came")
        limits.require("bytes", self.size)
        self.gate.bodies.take(self.size - self.held)
        self.held = self.size
        if self.whole:
            self.gate.metrics.stages.observe(time.monotonic() - self.start, stage="read")
        return message

    async def _next(self) -> Message:
        message = await self._receive()
        self.size += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send an answer."""
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
            if not await self._drain():
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
            self.status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._done()

    async def refuse(self, refusal: RefusedError) -> None:
        """Answer with an error, where no answer has begun."""
        if not self.status:
            self.gate.metrics.refused.add(reason=refusal.kind)
            response = JSONResponse({"error": refusal.message}, refusal.status, refusal.headers)
            await response(self.scope, self._receive, self.send)

    async def _drain(self) -> bool:
        """Read the rest of a body, so that the client gets to read the answer; False if it is too long."""
        if self.slow or b"expect" in self.headers:
            return self.whole
        bound = self.size + DRAIN * self.gate.limits.bytes
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.whole and self.size <= bound:
                    await self._next()
        except TimeoutError:
            return False
        return self.whole

    def _done(self) -> None:
        """Count and log what was answered."""
        seconds = time.monotonic() - self.start
        metrics, scope = self.gate.metrics, self.scope
        metrics.requests.add(path=self.path, status=str(self.status))
        metrics.seconds.observe(seconds, path=self.path)
        if self.counts:
            metrics.answered.add()
        level = logging.DEBUG if self.path in (*OPEN, "/metrics") else logging.INFO
        log("request", level, id=self.id, method=scope["method"] if scope["method"] in METHODS else "other",
            path=self.path, status=self.status, seconds=round(seconds, 4), bytes=self.size,
            items=scope.get("plait.items", 0))  # fmt: skip
