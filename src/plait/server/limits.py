"""What one request may cost, and how a request that costs more is refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from plait.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Limits of a server; each can be set on the command line.

    Attributes:
        bytes: of a request's body.
        pixels: of one image, width times height.
        chars: of one text.
        items: of one request.
        queue: items that are decoded, wait or are computed at one time; more are answered with 429.
        seconds: from a request's head to its answer.
        body_seconds: in which a request's body must have come.
        connections: open at one time.
    """

    bytes: int = 16 << 20
    pixels: int = 25_000_000
    chars: int = 10_000
    items: int = 32
    queue: int = 128
    seconds: float = 30.0
    body_seconds: float = 10.0
    connections: int = 512

    def __post_init__(self) -> None:
        """Raise ConfigError for a limit that would refuse everything."""
        for name, value in asdict(self).items():
            if not value > 0:
                raise ConfigError(f"--max-{name.replace('_', '-')} {value}: must be above 0")
        if self.queue < self.items:
            raise ConfigError(
                f"--max-queue {self.queue} is below --max-items {self.items}: such a request could never be answered"
            )

    @property
    def held(self) -> int:
        """Bytes of all bodies that are held at one time."""
        return 16 * self.bytes

    def described(self) -> dict[str, Any]:
        """Plain values, for ``/info``."""
        return asdict(self)


class RefusedError(Exception):
    """A request, or one item of it, that gets no answer but a reason.

    Args:
        status: of the HTTP response where the request has only this item.
        kind: a short name for logs and metrics, which show nothing of what the user sent.
        message: what is wrong and the remedy.
    """

    def __init__(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.headers = status, kind, message, headers or {}


def busy(why: str) -> RefusedError:
    """429: nothing is wrong with the request, there are too many."""
    return RefusedError(429, "busy", f"the server is busy: {why}; try again in a second", {"retry-after": "1"})


def late(seconds: float) -> RefusedError:
    """503: accepted, and not answered in time."""
    message = f"not answered within {seconds:g} s; send fewer requests at a time, or raise --max-seconds"
    return RefusedError(503, "late", message, {"retry-after": "1"})


def text_too_long(limits: Limits) -> RefusedError:
    """413: one text of the request."""
    message = f"text of more than {limits.chars:,} characters; shorten it, or raise --max-chars"
    return RefusedError(413, "text_too_long", message)
