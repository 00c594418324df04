"""Decoding pictures of every pixel format to the RGB that a person sees."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from plait.data.images import open_image

RAMP = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (25, 1))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_sixteen_bit_grey_looks_like_its_eight_bit_twin() -> None:
    wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(open_image(encoded(wide))), np.asarray(Image.fromarray(RAMP).convert("RGB")))


def test_transparent_parts_are_white() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (200, 10, 10, 255)
    out = np.asarray(open_image(encoded(Image.fromarray(pixels))))
    assert (out[:2] == (200, 10, 10)).all()
    assert (out[2:] == 255).all()


def test_palette_with_transparency_without_a_word() -> None:
    palette = Image.fromarray(RAMP).convert("P")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = np.asarray(open_image(encoded(palette, transparency=bytes([0] + [255] * 255))))
    assert (out[:, 0] == 255).all()
    assert (out[:, 5] == 50).all()


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="floating-point pixels; save it with 8 bits a channel"):
        open_image(encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"))
