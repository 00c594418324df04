"""Examples to click: rows of the user's data, or drawn ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plait.app.pictures import Limits, Picture, as_data, read_picture
from plait.data.images import open_image
from plait.data.pairs import Pairs

if TYPE_CHECKING:
    from plait.inference.engine import Engine

MOST = 4
LOOKED_AT = 400  # rows, before it is content with fewer examples
LETTERS = 300  # of a title; longer ones are passed over
THUMBNAIL = 112
DRAWN_SEED = 11  # no row of the sample that `plait demo` draws
DRAWN_SIZE = 256


@dataclass(frozen=True)
class Example:
    """One row to click: a picture and a title, either of which may be missing; and a ``data:`` address of it, small."""

    picture: Picture | None
    text: str | None
    thumbnail: str | None = None


def find_examples(engine: Engine, data: str | None, limits: Limits) -> list[Example]:
    """The first readable rows of different classes.

    Args:
        data: anything `plait.read` takes; None: drawn dishes, where the run knows dishes, and else nothing.

    Raises:
        DataError: data that cannot be read.
    """
    if data is not None:
        from plait.data.columns import Columns
        from plait.data.read import read

        pairs = read(data, columns=Columns(known=tuple(engine.columns.items())))
        return _pick(engine, pairs, limits)
    from plait.data.sample import DISHES, draw

    if set(engine.labels) <= set(DISHES):
        return _pick(engine, draw(rows=len(DISHES), seed=DRAWN_SEED, size=DRAWN_SIZE), limits)
    return []


def _pick(engine: Engine, pairs: Pairs, limits: Limits) -> list[Example]:
    found: list[Example] = []
    seen: set[str | None] = set()
    rows = range(min(LOOKED_AT, len(pairs)))
    for row, ref in zip(rows, pairs.images(rows), strict=True):
        label, text = pairs.labels[row], pairs.texts[row]
        if (label is not None and label in seen) or len(text or "") > LETTERS:
            continue
        try:
            content = ref.load() if ref is not None and "image" in engine.modalities else None
            picture = read_picture(engine, content, limits) if content is not None else None
        except (OSError, ValueError):
            continue
        text = text if "text" in engine.modalities else None
        if picture is None and text is None:
            continue
        found.append(Example(picture, text, _thumbnail(content) if content is not None else None))
        seen.add(label)
        if len(found) == MOST:
            break
    return found


def _thumbnail(content: bytes) -> str:
    from PIL import ImageOps

    return as_data(ImageOps.fit(open_image(content, THUMBNAIL), (THUMBNAIL, THUMBNAIL)))
