"""A cache of their own for tests that read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from PIL import Image

from plait.data.images import open_image
from plait.data.pairs import Pairs


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables read in a test are cached in a folder of that test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder


@pytest.fixture
def picture() -> Callable[[int], bytes]:
    """A PNG that carries a number below 65536 in its first pixel."""

    def draw(number: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (4, 3), (number // 256, number % 256, 7)).save(buffer, "PNG")
        return buffer.getvalue()

    return draw


@pytest.fixture
def numbers() -> Callable[[Pairs], list[int]]:
    """The numbers that the images of `picture` carry, in row order."""

    def look(pairs: Pairs) -> list[int]:
        pixels = [open_image(ref.load()).getpixel((0, 0)) for ref in pairs.images() if ref is not None]
        return [p[0] * 256 + p[1] for p in pixels if isinstance(p, tuple)]

    return look
