"""What all parts of a server share, and what one request holds while it is answered."""

from __future__ import annotations

import hmac
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from plait.inference.engine import Engine
from plait.server.limits import Limits, RefusedError, busy
from plait.server.metrics import Metrics

LARGE = 4_000_000  # pixels; larger images are decoded one after another, so that memory and small ones are safe
LARGE_WAITING = 8


@dataclass
class Exchange:
    """One request on its way.

    Attributes:
        start: clock when its head was read. deadline: when it must be answered.
        held: bytes of its body. items: how many of them count towards the queue.
        slow: its body did not come in time.
    """

    start: float
    deadline: float
    held: int = 0
    items: int = 0
    slow: bool = False


@dataclass
class Service:
    """An engine behind limits.

    Attributes:
        token: what a request must bear; None asks for nothing.
        batch: rows computed at one time. wait: seconds a lone row waits for others.
        items, held, large: what all requests hold now: items, bytes of bodies, large images.
        accepted, answered: requests to /predict so far.
    """

    engine: Engine
    limits: Limits = field(default_factory=Limits)
    token: bytes | None = None
    batch: int = 8
    wait: float = 0.005
    metrics: Metrics = field(default_factory=Metrics)
    items: int = 0
    held: int = 0
    large: int = 0
    accepted: int = 0
    answered: int = 0
    ready: bool = False

    def __post_init__(self) -> None:
        threads = min(4, os.cpu_count() or 2)
        self.small_pool = ThreadPoolExecutor(threads, "plait-decode")
        self.large_pool = ThreadPoolExecutor(1, "plait-decode-large")
        self.metrics.gauge("plait_items_now", "Items decoded, waiting or computed now.", lambda: self.items)
        self.metrics.gauge("plait_held_bytes", "Bytes of bodies held now.", lambda: self.held)
        self.metrics.gauge("plait_ready", "1 where requests are answered.", lambda: int(self.ready))

    def begin(self) -> Exchange:
        """Start the clock of a request."""
        now = time.monotonic()
        return Exchange(now, now + self.limits.seconds)

    def require_room(self, items: int) -> None:
        """Raise RefusedError where so many more items would overflow the queue."""
        if self.items + items > self.limits.queue:
            raise busy(f"{self.items} items are waiting")

    def admit(self, exchange: Exchange, items: int) -> None:
        """Count a request's items towards the queue. Raises RefusedError where it is full."""
        self.require_room(items)
        exchange.items += items
        self.items += items

    def hold(self, exchange: Exchange, size: int) -> None:
        """Count bytes of a body. Raises RefusedError where all bodies together take too much memory."""
        if self.held + size > self.limits.held:
            raise busy("it holds as many bodies as it may")
        exchange.held += size
        self.held += size

    def release(self, exchange: Exchange) -> None:
        """Give back what a request held."""
        self.items -= exchange.items
        self.held -= exchange.held
        exchange.items = exchange.held = 0

    def hold_large(self) -> None:
        """Count a large image. Raises RefusedError where enough of them wait."""
        if self.large >= LARGE_WAITING:
            raise busy(f"{self.large} large images are waiting")
        self.large += 1

    def allows(self, authorization: bytes | None) -> bool:
        """Whether an Authorization header bears the token; the time it takes tells nothing of the token."""
        if self.token is None:
            return True
        scheme, _, token = (authorization or b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self.token)

    def close(self) -> None:
        """End the decoding threads."""
        self.small_pool.shutdown(cancel_futures=True)
        self.large_pool.shutdown(cancel_futures=True)


def require_in_time(exchange: Exchange) -> None:
    """Raise RefusedError where nobody waits for the answer any more."""
    if time.monotonic() > exchange.deadline:
        raise RefusedError(503, "late", "not answered in time", {"retry-after": "1"})
