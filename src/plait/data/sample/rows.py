"""Which row gets which dish, and what its title and its picture do wrong."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from plait.data.pairs import Pairs
from plait.data.sample.dishes import DISHES, photograph
from plait.data.sample.titles import title
from plait.errors import DataError

SMALLEST, LARGEST = 32, 256

TITLE_SILENT = 0.20  # the title names no dish
TITLE_WRONG = 0.05  # it names another
IMAGE_WRONG = 0.05  # the picture shows another
MISSING = 0.008  # each modality is lost this often, never both in one row


@dataclass(frozen=True)
class Row:
    """The truth about one row.

    Attributes:
        id: the dish and a running number, ``ramen_0012``.
        dish: the label.
        title_names: the dish that the title names; None where it names none or is missing.
        image_shows: the dish that the picture shows; None where it is missing.
        has_text: the row has a title.
    """

    id: str
    dish: str
    title_names: str | None
    image_shows: str | None
    has_text: bool


def truth(index: int, seed: int = 0) -> Row:
    """The plan of row `index`, which depends on the seed and on nothing else."""
    block, place = divmod(index, len(DISHES))
    # every block of rows holds each dish once, so any number of rows is balanced
    dish = Random(f"{seed}/block/{block}").sample(DISHES, len(DISHES))[place]
    rng = Random(f"{seed}/truth/{index}")
    others = [other for other in DISHES if other != dish]
    chance = rng.random()
    names: str | None = dish
    if chance < TITLE_SILENT + TITLE_WRONG:
        names = None if chance < TITLE_SILENT else rng.choice(others)
    shows: str | None = rng.choice(others) if rng.random() < IMAGE_WRONG else dish
    lost = rng.random()
    has_text = lost >= MISSING
    if MISSING <= lost < 2 * MISSING:
        shows = None
    return Row(f"{dish}_{block:04d}", dish, names if has_text else None, shows, has_text)


def draw(rows: int = 2000, seed: int = 0, size: int = 64) -> Pairs:
    """Draw the sample set: pictures of dishes beside page titles, noisy as the web is.

    A quarter of the titles name no dish or another one, one picture in twenty shows another dish, and a few rows
    lack their title or their picture. A row depends on its place and the seed only, so the first rows of a longer
    set are the shorter set.

    Args:
        rows: how many pairs, at least 1; the 16 dishes come equally often, within one.
        seed: any integer; the same seed draws the same bytes.
        size: width and height of the pictures in pixels, 32 to 256.
    """
    if rows < 1:
        raise DataError(f"rows is {rows}; ask for at least 1")
    if not SMALLEST <= size <= LARGEST:
        raise DataError(f"size is {size}; give {SMALLEST} to {LARGEST} pixels")
    columns: dict[str, list[Any]] = {"id": [], "image": [], "text": [], "label": []}
    for index in range(rows):
        row = truth(index, seed)
        columns["id"].append(row.id)
        columns["image"].append(_picture(row, index, seed, size))
        columns["text"].append(
            title(Random(f"{seed}/title/{index}"), row.dish, row.title_names) if row.has_text else None
        )
        columns["label"].append(row.dish)
    return Pairs.from_dict(columns, source="sample")


def _picture(row: Row, index: int, seed: int, size: int) -> dict[str, Any] | None:
    if row.image_shows is None:
        return None
    content = photograph(Random(f"{seed}/image/{index}"), row.image_shows, size)
    return {"bytes": content, "path": f"{row.id}.jpg"}
