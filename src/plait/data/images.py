"""Images as pairs hold them: a reference to an encoded file, what names its content, and its pixels."""

from __future__ import annotations

import builtins
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.data.fetched import fetched
from plait.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

DECODING = 2  # raised when `open_image` gives other pixels: features of the old ones are then not used
GONE = "no such file"  # why an image cannot be opened


@dataclass(frozen=True)
class ImageRef:
    """Where one image is: its encoded bytes, or a local path or URL."""

    bytes: bytes | None = None
    path: str | None = None

    def load(self) -> builtins.bytes:
        """The encoded file's bytes. Raises OSError where the path or URL cannot be read."""
        if self.bytes is not None:
            return self.bytes
        assert self.path is not None
        if self.is_remote:
            return fetched().load(self.path)
        return Path(self.path).read_bytes()

    @property
    def is_remote(self) -> bool:
        """Whether it has to be fetched from a URL."""
        return self.bytes is None and "://" in (self.path or "")

    @property
    def name(self) -> str:
        """What to call it in a message: its path, or how many bytes it has."""
        return self.path or f"{len(self.bytes or b'')} embedded bytes"


def content_hash(content: bytes) -> bytes:
    """16-byte BLAKE2b digest: the name of an input in the feature store."""
    return hashlib.blake2b(content, digest_size=16).digest()


def image_ref(image: dict[str, Any] | None) -> ImageRef | None:
    """An Arrow image struct as a reference; None where it holds neither bytes nor a path."""
    if not image or not (image.get("bytes") or image.get("path")):
        return None
    return ImageRef(image.get("bytes") or None, image.get("path") or None)


def as_image(image: Any) -> dict[str, Any] | None:
    """Anything a user may call an image, as the Arrow struct ``{bytes, path}``."""
    if image is None or image == "":
        return None
    if isinstance(image, dict):
        return {"bytes": image.get("bytes"), "path": image.get("path")}
    if isinstance(image, ImageRef):
        return {"bytes": image.bytes, "path": image.path}
    if isinstance(image, bytes | bytearray | memoryview):
        return {"bytes": bytes(image), "path": None}
    if isinstance(image, str | Path):
        return {"bytes": None, "path": str(image)}
    if hasattr(image, "save"):
        buffer = io.BytesIO()
        as_rgb(image).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}
    raise DataError(f"an image is given as {type(image).__name__}; give a path, URL, bytes or Pillow image")


def open_image(content: bytes, size: int | None = None) -> Image:
    """Decode to RGB. A JPEG much larger than `size` pixels is decoded at a reduced DCT scale.

    Raises ValueError with a short reason where the bytes are not a whole image that Pillow can read.
    """
    from PIL import Image, ImageOps

    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        if size:
            image.draft("RGB", (size * 2, size * 2))
        _require_decodable(image)
        image.load()
        return as_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        raise ValueError(f"image of more than {(Image.MAX_IMAGE_PIXELS or 0) * 2 // 10**6} megapixels") from None
    except Exception as error:  # Pillow raises almost anything on hostile bytes
        reason = "not an image" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise ValueError(reason) from error


def as_rgb(image: Image) -> Image:
    """8-bit RGB: 16-bit grey is scaled down, transparent parts turn white.

    Raises ValueError for floating-point pixels, which have no known range.
    """
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels; save it with 8 bits a channel")
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        # Pillow would clip everything above 255 to white.
        return Image.fromarray(
            (grey // (257 if grey.max(initial=0) > 255 else 1)).clip(0, 255).astype(np.uint8)
        ).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _require_decodable(image: Image) -> None:
    """Raise ValueError where the pixels would take more memory than Pillow holds to be safe."""
    from PIL import Image

    limit, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
    if limit and pixels > limit:
        raise ValueError(f"image of {pixels // 10**6} megapixels, more than {limit // 10**6}")
