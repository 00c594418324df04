"""Connections: HTTP/1.1 as uvicorn speaks it, with a clock for heads, a bound for how many, and errors in JSON.

On h11, which bounds the size of a head; uvicorn's faster parser does not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from plait.server.limits import Limits
from plait.server.metrics import Metrics


class Connection(H11Protocol):
    """One connection within some limits; see `connection`."""

    limits: Limits
    metrics: Metrics
    stopping: Callable[[], bool]
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(429, "too many connections; try again in a second", ("retry-after", "1"))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.stopping():  # uvicorn does not tell a connection that was just being accepted
            self.shutdown()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self.head_timer is None and self.conn.trailing_data[0]:
            self._await_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has sent all it will still gets its answer; uvicorn would close at once."""
        if self.cycle is None or self.cycle.response_complete:
            if self.conn.trailing_data[0] and not self.transport.is_closing():
                self._refuse(400, "the connection was closed before the whole head came; send all of it")
            return False
        if self.cycle.more_body:
            self._refuse(400, "the connection was closed before the whole body came; send all of it")
            return False
        self.cycle.keep_alive = False
        return True

    def shutdown(self) -> None:
        """Let the answer say that it is the last, so that the client asks its next question elsewhere."""
        if self.cycle is not None and not self.cycle.response_started and self.cycle.keep_alive:
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "not an HTTP/1.1 request, or a head of more than 64 KB; mend the request")

    def _await_head(self) -> None:
        self.head_timer = self.loop.call_later(self.limits.body_seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _too_slow(self) -> None:
        self.head_timer = None
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._refuse(408, f"no whole request head within {self.limits.body_seconds:g} s; send it faster")

    def _refuse(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        """Answer before there is a request, and close."""
        self.metrics.requests.add(path="none", status=str(status))
        body = json.dumps({"error": message}).encode()
        fixed: list[tuple[Any, Any]] = [("content-type", "application/json"), ("connection", "close")]
        fixed.append(("content-length", str(len(body))))
        head = h11.Response(status_code=status, headers=[*fixed, *headers], reason=HTTPStatus(status).phrase.encode())
        try:
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer is on its way already
            pass
        self.transport.close()


def connection(limits: Limits, metrics: Metrics, stopping: Callable[[], bool]) -> type[Connection]:
    """The class of a server's connections. `stopping`: whether each is to end with its next answer."""
    return type("Connection", (Connection,), {"limits": limits, "metrics": metrics, "stopping": staticmethod(stopping)})
