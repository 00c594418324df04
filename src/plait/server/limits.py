"""What one request may cost, what all of them together may hold, and how a request that wants more is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import ClassVar

from plait.errors import ConfigError

TOO_LARGE = {  # a short name for logs and metrics; what is wrong and the remedy
    "bytes": ("body_too_large", "a body of more than {limit:,} bytes; send less at a time, or raise --max-bytes"),
    "items": ("too_many_items", "{number:,} items, more than {limit}; send several requests, or raise --max-items"),
    "chars": ("text_too_long", "text of more than {limit:,} characters; shorten it, or raise --max-chars"),
    "pixels": ("too_many_pixels", "image of more than {mega:g} megapixels; make it smaller, or raise --max-pixels"),
    "exif": ("exif_too_large", "image with EXIF data of {number:,} bytes; save it without them"),
}


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


@dataclass(frozen=True)
class Limits:
    """Limits of a server; each but `exif` can be set on the command line.

    Attributes:
        bytes: of a request's body.
        pixels: of one image, width times height.
        chars: of one text.
        items: of one request.
        queue: items that are decoded, wait or are computed at one time; more are answered with 429.
        seconds: from a request's head to its answer.
        body_seconds: in which a request's body must have come.
        connections: open at one time.
        exif: bytes of EXIF data of one image.
    """

    bytes: int = 16 << 20
    pixels: int = 25_000_000
    chars: int = 10_000
    items: int = 32
    queue: int = 128
    seconds: float = 30.0
    body_seconds: float = 10.0
    connections: int = 512
    exif: ClassVar[int] = 1 << 20

    def __post_init__(self) -> None:
        """Raise ConfigError for a limit that would refuse everything."""
        for name, value in asdict(self).items():
            if not value > 0:
                raise ConfigError(f"--max-{name.replace('_', '-')} {value}: must be above 0")
        if self.queue < self.items:
            raise ConfigError(
                f"--max-queue {self.queue} is below --max-items {self.items}: such a request could never be answered"
            )

    def require(self, name: str, number: int) -> None:
        """Raise RefusedError, 413, where a limit of size is passed; `TOO_LARGE` names them."""
        limit = getattr(self, name)
        if number > limit:
            kind, message = TOO_LARGE[name]
            raise RefusedError(413, kind, message.format(number=number, limit=limit, mega=limit / 1e6))

    def slow(self) -> RefusedError:
        """408: the body did not come in time."""
        message = f"the body did not come within {self.body_seconds:g} s; send it faster, or raise --max-body-seconds"
        return RefusedError(408, "slow_body", message)

    def late(self) -> RefusedError:
        """503: accepted, and not answered in time."""
        message = f"not answered within {self.seconds:g} s; send fewer requests at a time, or raise --max-seconds"
        return RefusedError(503, "late", message, {"retry-after": "1"})


def busy(why: str) -> RefusedError:
    """429: nothing is wrong with the request, there are too many."""
    return RefusedError(429, "busy", f"the server is busy: {why}; try again in a second", {"retry-after": "1"})


class Room:
    """Places that all requests share; one that finds too few is refused with 429.

    Args:
        places: how many there are.
        full: why there are none; ``{}`` stands for how many are taken.
    """

    def __init__(self, places: int, full: str) -> None:
        self.places, self.full, self.taken = places, full, 0

    def require(self, number: int) -> None:
        """Raise RefusedError where fewer are free."""
        if self.taken + number > self.places:
            raise busy(self.full.format(self.taken))

    def take(self, number: int) -> None:
        """Take places until `leave`. Raises RefusedError."""
        self.require(number)
        self.taken += number

    def leave(self, number: int) -> None:
        """Give places back."""
        self.taken -= number

    @contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Take places for as long as a block runs. Raises RefusedError."""
        self.take(number)
        try:
            yield
        finally:
            self.leave(number)
