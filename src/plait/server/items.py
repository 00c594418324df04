"""One item of a request: checked, decoded, ready to be computed."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from plait.inference.engine import Engine
from plait.server.limits import Limits, RefusedError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # Pillow reads more, some with programs and libraries of their own
SCANS = 200  # passes over a progressive JPEG; a picture has about 10, and each costs time however small it is


@dataclass(frozen=True)
class Raw:
    """An item as it came: a base64 string or a file's bytes, and a text."""

    image: str | bytes | None = None
    text: str | None = None


@dataclass(frozen=True)
class Ready:
    """An item as the engine takes it: (3, H, W) uint8 pixels, a text, or both."""

    pixels: np.ndarray | None
    text: str | None

    @property
    def modalities(self) -> list[str]:
        """The modalities that have something to say."""
        return [name for name, one in (("image", self.pixels), ("text", self.text)) if one is not None]


@dataclass(frozen=True)
class Checked:
    """An item whose sizes are known to be in bounds; `pixels` is how many its image has."""

    image: bytes | None
    text: str | None
    pixels: int = 0


def check(raw: Raw, engine: Engine, limits: Limits) -> Checked:
    """What of an item the run reads, within the limits; an image's header is read, its pixels are not.

    Raises:
        RefusedError: what is wrong with it.
    """
    text = _text(raw.text, limits)
    reads = engine.modalities
    said = engine.clean(text) if text is not None and "text" in reads else None
    said = said if said and said.strip() else None
    content = None if raw.image is None else _content(raw.image)
    shown = content if "image" in reads else None
    if said is None and shown is None:
        raise _nothing(reads, has_image=content is not None, has_text=bool(text and text.strip()))
    return Checked(shown, said, 0 if shown is None else _pixels(shown, limits))


def decode(item: Checked, engine: Engine) -> Ready:
    """An item with its image decoded. Raises RefusedError where the image is broken."""
    if item.image is None:
        return Ready(None, item.text)
    try:
        return Ready(engine.decode(item.image), item.text)
    except Exception as error:  # decoders raise almost anything on hostile bytes
        raise _unreadable(str(error) if isinstance(error, ValueError) else type(error).__name__) from None


def _text(text: str | None, limits: Limits) -> str | None:
    if text is None:
        return None
    limits.require("chars", len(text))
    if "\0" in text:
        raise RefusedError(422, "text_nul", "text holds a NUL character; take it out")
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise RefusedError(422, "text_unicode", "text holds half of a surrogate pair; send valid Unicode")
    return text


def _content(image: str | bytes) -> bytes:
    if not image:
        raise RefusedError(422, "image_empty", "image is empty; send a file's bytes, or leave it away")
    if isinstance(image, bytes):
        return image
    try:
        content = base64.b64decode(image, validate=True)
    except ValueError:
        message = "image is not base64; send the file's bytes as base64 (a path or URL is never opened)"
        raise RefusedError(422, "image_base64", message) from None
    return content


def _pixels(content: bytes, limits: Limits) -> int:
    """How many pixels an image says it has; see `check`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            exif = len(image.info.get("exif") or b"")
            scans = content.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 0
    except Image.DecompressionBombError:
        pixels, exif, scans = 2 * limits.pixels + 1, 0, 0
    except Exception:
        raise _unreadable("not a JPEG, PNG, WebP, GIF or BMP file") from None
    limits.require("pixels", pixels)
    limits.require("exif", exif)
    if scans > SCANS:
        raise RefusedError(422, "too_many_scans", f"JPEG of {scans:,} scans, more than {SCANS}; save it anew")
    return pixels


def _unreadable(reason: str) -> RefusedError:
    return RefusedError(422, "image_unreadable", f"image cannot be read ({reason}); send another file")


def _nothing(reads: tuple[str, ...], has_image: bool, has_text: bool) -> RefusedError:
    if len(reads) == 1 and (has_image or has_text):
        other = "text" if reads == ("image",) else "image"
        message = f"this run reads only the {reads[0]} and the item has only {_a(other)}; add {_a(reads[0])}"
        return RefusedError(422, "wrong_modality", message)
    wanted = " or ".join(map(_a, reads))
    return RefusedError(422, "nothing_to_read", f"the item has nothing to go by; give {wanted}")


def _a(modality: str) -> str:
    return {"image": "an image", "text": "a text"}[modality]
