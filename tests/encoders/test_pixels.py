"""Pixels as timm makes them, without timm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data.transforms_factory import create_transform

from plait.encoders.pixels import Preprocessing

SIZES = [(64, 64), (63, 101), (101, 63), (500, 37), (37, 500), (20, 30), (30, 20), (1, 9), (256, 255), (7, 7)]


def settings(**changes: Any) -> dict[str, Any]:
    plain = {"input_size": (3, 48, 48), "interpolation": "bicubic", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2),
             "crop_pct": 0.875, "crop_mode": "center"}  # fmt: skip
    return plain | changes


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop_pct": 1.0},
        {"crop_pct": 0.95, "interpolation": "bilinear"},
        {"input_size": (3, 40, 56)},
        {"input_size": (3, 57, 40), "crop_pct": 1.0, "interpolation": "lanczos"},
        {"crop_pct": None},
        {"crop_pct": 1.2},
    ],
    ids=str,
)
def test_as_timm(mode: str, changes: dict[str, Any]) -> None:
    known = settings(crop_mode=mode, **changes)
    reference = create_transform(**known, is_training=False, use_prefetcher=True)
    for width, height in SIZES:
        picture = noise(width, height)
        pixels = Preprocessing(known)(picture)
        assert pixels.shape == known["input_size"]
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, reference(picture).numpy(), err_msg=f"{width}x{height}")
