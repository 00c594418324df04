"""Uploaded pictures: read within limits, and held in memory for as long as their page is open."""

from __future__ import annotations

import base64
import io
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from plait.data.images import open_image
from plait.encoders.pixels import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

    from plait.inference.engine import Engine

# No others: Pillow hands some kinds to outside programs.
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MEGABYTE = 2**20
SHOWN = 448  # pixels a side on the page, at least
LONGEST = 4  # times its shorter side; a longer picture is shown squashed to that
HELD = 256  # pictures at a time, one a visitor
HELD_MB = 512  # of their files


@dataclass(frozen=True)
class Limits:
    """What the page takes: megabytes of a file, megapixels of a picture, letters of a title."""

    megabytes: int = 10
    megapixels: int = 50
    letters: int = 2000


@dataclass(frozen=True)
class Picture:
    """A picture that was read.

    Attributes:
        pixels: (3, H, W) uint8, as the image encoder takes it.
        shown: ``data:`` address of a JPEG of the same part of the picture, large enough to look at.
        content: the file, for whoever reads pictures in another way than the run.
    """

    pixels: np.ndarray
    shown: str
    content: bytes = b""


def read_picture(engine: Engine, content: bytes, limits: Limits) -> Picture:
    """Read an encoded picture.

    Raises:
        ValueError: why it cannot be read, to go after "cannot be used:".
    """
    if len(content) > limits.megabytes * MEGABYTE:
        raise ValueError(f"the file has {len(content) / MEGABYTE:.0f} MB, and {limits.megabytes} MB are the most")
    _require_small(content, limits.megapixels)
    return Picture(engine.decode(content), _shown(engine, content), content)


def _require_small(content: bytes, megapixels: int) -> None:
    """By what the file says of itself, before anything is decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=KINDS) as image:
            size = image.width * image.height / 1e6
    except Image.DecompressionBombError:
        raise ValueError(f"it has more than {megapixels} megapixels") from None
    except Exception:  # Pillow raises almost anything on hostile bytes
        raise ValueError("this is no picture that the page knows (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF)") from None
    if size > megapixels:
        raise ValueError(f"it has {size:.0f} megapixels, and {megapixels} are the most")


def _shown(engine: Engine, content: bytes) -> str:
    """The part that the encoder sees, its shorter side of about `SHOWN` pixels; what was squashed, in its own shape."""
    from PIL import Image

    assert engine.encoders.image is not None
    image, settings = open_image(content, SHOWN), dict(engine.encoders.image.preprocess.settings)
    _, height, width = settings["input_size"]
    if settings["crop_mode"] == "squash":
        ratio = min(LONGEST, max(1 / LONGEST, image.width / image.height))
        height, width = height / min(1, ratio), width * max(1, ratio)
    scale = max(1.0, SHOWN / min(height, width))
    settings["input_size"] = (3, round(height * scale), round(width * scale))
    larger: Preprocessing = replace(engine.encoders.image.preprocess, settings=settings)
    return as_data(Image.fromarray(larger(image).transpose(1, 2, 0)))


def as_data(image: Image, kind: str = "JPEG") -> str:
    """A picture as a ``data:`` address."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=85)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


def from_data(address: str) -> Image:
    """What `as_data` gave, as a picture again."""
    return open_image(base64.b64decode(address.partition(",")[2]))


class Held:
    """The pictures of the open pages, by session; safe to use from several threads."""

    def __init__(self, most: int = HELD):
        self.most = most
        self._pictures: dict[str, Picture] = {}
        self._lock = threading.Lock()

    def keep(self, session: str, picture: Picture) -> None:
        """Hold a picture in place of the session's former one. Raises ValueError where too many are held."""
        with self._lock:
            held = sum(len(one.content) for name, one in self._pictures.items() if name != session)
            full = held + len(picture.content) > HELD_MB * MEGABYTE
            if full or (len(self._pictures) >= self.most and session not in self._pictures):
                raise ValueError("too many people use this page now; try again in a minute")
            self._pictures[session] = picture

    def get(self, session: str) -> Picture | None:
        """The session's picture."""
        return self._pictures.get(session)

    def forget(self, session: str) -> None:
        """Let go of the session's picture, if it has one."""
        with self._lock:
            self._pictures.pop(session, None)

    def __len__(self) -> int:
        return len(self._pictures)
