"""The drawn sample set: dishes in pictures and page titles, made on the spot, with no data and no network."""

from __future__ import annotations

from plait.data.sample.dishes import DISHES
from plait.data.sample.rows import Row, draw, truth

__all__ = ["DISHES", "Row", "draw", "truth"]
