"""The side of the image network's input where none is asked for: what suits the pictures, seen once at fit time."""

from __future__ import annotations

import contextlib
import io
from statistics import median

import numpy as np

from plait.config import ImageConfig
from plait.data.pairs import Pairs
from plait.encoders.image import own_size
from plait.progress import say

SAMPLE = 100  # pictures that are looked at, evenly spaced
ENLARGED = 2.5  # times the pictures' own shorter side, at most; see docs/comparison.md
GRID, LEAST = 32, 96  # sides are multiples of the networks' stride; below LEAST hardly any feature is left


def sized(config: ImageConfig, pairs: Pairs) -> ImageConfig:
    """The configuration with a side that suits the pictures, where it names none.

    That is the one the network was trained with, or `side_for` the pictures where that is less. A folder keeps its
    own, and so does a network that takes no other.

    Args:
        pairs: the training rows.
    """
    if config.size is not None:  # and used, however the network is tuned
        return config.model_copy(update={"train": config.train.model_copy(update={"enlarge": False})})
    own = own_size(config.model)
    sides = shorter_sides(pairs) if own else []
    if not own or not sides or (side := side_for(sides)) >= own:
        return config
    say(f"image.size: {side} px, for pictures of {median(sides):.0f} px ({config.model} was trained with {own})")
    return config.model_copy(update={"size": side})


def side_for(sides: list[int]) -> int:
    """Two and a half times the median of the pictures' shorter sides, up to the next multiple of `GRID`."""
    return max(LEAST, GRID * int(np.ceil(ENLARGED * median(sides) / GRID)))


def shorter_sides(pairs: Pairs) -> list[int]:
    """Of a sample of the pictures, from their headers; what cannot be opened is left out."""
    from PIL import Image

    rows = np.flatnonzero(pairs.has_image)
    picked = rows[np.unique(np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64))]
    found = []
    for ref in pairs.images(picked.tolist()):
        # Pillow raises almost anything on hostile bytes; what cannot be read is named when it is encoded.
        with contextlib.suppress(Exception):
            if ref is not None:
                with Image.open(io.BytesIO(ref.load())) as image:
                    found.append(min(image.size))
    return found
