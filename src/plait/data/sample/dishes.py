"""The dishes of the sample set, and how to photograph one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from plait.data.sample import desserts, handheld, savoury, sweet
from plait.data.sample.easel import Easel
from plait.data.sample.scene import develop, table


class Dish(NamedTuple):
    """How a dish is drawn: its function, and the range of angles from low (0) to straight above (1)."""

    paint: Callable[[Easel], None]
    low: float
    high: float


TABLE: dict[str, Dish] = {
    "apple_pie": Dish(desserts.apple_pie, 0.55, 0.98),
    "bagel": Dish(handheld.bagel, 0.45, 0.95),
    "burger": Dish(handheld.burger, 0.2, 0.5),
    "cheesecake": Dish(desserts.cheesecake, 0.45, 0.8),
    "cupcakes": Dish(sweet.cupcakes, 0.25, 0.6),
    "donuts": Dish(sweet.donuts, 0.5, 0.98),
    "fried_eggs": Dish(savoury.fried_eggs, 0.55, 0.98),
    "ice_cream": Dish(desserts.ice_cream, 0.35, 0.7),
    "pancakes": Dish(sweet.pancakes, 0.4, 0.85),
    "pizza": Dish(savoury.pizza, 0.55, 1.0),
    "ramen": Dish(savoury.ramen, 0.6, 0.98),
    "salad": Dish(savoury.salad, 0.6, 0.98),
    "spring_rolls": Dish(handheld.spring_rolls, 0.5, 0.95),
    "sushi": Dish(handheld.sushi, 0.5, 0.85),
    "tacos": Dish(handheld.tacos, 0.4, 0.75),
    "waffles": Dish(sweet.waffles, 0.5, 0.95),
}

DISHES: tuple[str, ...] = tuple(TABLE)


def photograph(rng: Random, dish: str, size: int) -> bytes:
    """One drawing of the dish, `size` pixels square, as JPEG bytes."""
    paint, low, high = TABLE[dish]
    easel = Easel(rng, size * 3, rng.uniform(low, high), rng.uniform(0.9, 1.5))
    table(easel)
    paint(easel)
    return develop(easel.image, size, rng, easel.light)
