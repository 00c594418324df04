"""What the page offers beside the answer: rows of an index, a caption, a recipe. Each has a tab of its own."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from plait.app.pictures import Limits, Picture, as_data
from plait.app.results import Found, caption_card, dish_card, found_card, waiting
from plait.data.images import open_image
from plait.errors import PlaitError

if TYPE_CHECKING:
    from plait.captions.folder import Captioner
    from plait.retrieval.index import Index

MOST_FOUND = 12  # rows on the page
MOST_WHERE = 500  # letters of a filter
THUMBNAIL = 224


class Cooks(Protocol):
    """A cookbook with its threshold and its chat model, as `plait recipe` has them."""

    def answer(self, image: Any = None, text: str | None = None) -> Any: ...

    def picture(self, id: str) -> bytes | None: ...


@dataclass(frozen=True)
class Extras:
    """An index to look in, what writes captions, and what knows recipes; a tab for each that there is."""

    index: Index | None = None
    captioner: Captioner | None = None
    cookbook: Cooks | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The tabs beside the answer."""
        there = {"find": self.index, "caption": self.captioner, "recipe": self.cookbook}
        return tuple(name for name, one in there.items() if one is not None)

    def find(self, picture: Picture | None, text: str | None, where: str) -> Iterator[str]:
        """Cards: that it looks, then the rows most like a picture, a text, or both."""
        assert self.index is not None
        if len(where) > MOST_WHERE:
            raise ValueError(f"The filter has {len(where):,} letters; {MOST_WHERE} are the most.")
        yield waiting(f"Looking among {len(self.index):,} rows")
        with _explained():
            rows = self.index.find(_content(picture), text, MOST_FOUND, where.strip() or None)
        yield found_card([Found.of(row, _thumbnail(_file(row.get("image")))) for row in rows])

    def caption(self, picture: Picture | None) -> Iterator[tuple[str, str]]:
        """Cards and what was said so far: that it looks, then a caption of the picture."""
        assert self.captioner is not None
        if picture is None:
            raise ValueError("There is nothing to describe yet: give a picture.")
        yield waiting("Looking at the picture"), ""
        said = self.captioner.caption([open_image(picture.content)])[0]
        yield caption_card(said, self.captioner.name), said

    def recipe(self, picture: Picture | None, text: str | None) -> Iterator[str]:
        """Cards: that it looks, then the dish and the recipes most like it."""
        assert self.cookbook is not None
        yield waiting("Looking through the cookbook")
        with _explained():
            answer = self.cookbook.answer(_content(picture), text)
        pictures = [_thumbnail(self.cookbook.picture(one.id)) for one, _ in answer.matches]
        yield dish_card(answer, pictures)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors that a visitor can mend, as ValueErrors in their words."""
    try:
        yield
    except PlaitError as error:
        line = str(error)
        raise ValueError(f"{line[:1].upper()}{line[1:]}.") from error


def guarded(cards: Iterator[Any], blank: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """(notice line, *card values) of a tab's work; what goes wrong is a line, and the details are in the terminal."""
    try:
        for one in cards:
            yield "", *(one if isinstance(one, tuple) else (one,))
    except ValueError as error:
        yield str(error), *blank
    except Exception:  # a visitor can mend nothing here, and whoever runs the page needs to know
        traceback.print_exc(file=sys.stderr)
        yield "This could not be done; the terminal that runs the page says why.", *blank


def _content(picture: Picture | None) -> bytes | None:
    return None if picture is None else picture.content


def _file(path: Any) -> bytes | None:
    """The bytes of an indexed row's own picture, by the path that the index was built from."""
    from plait.data.images import ImageRef

    try:
        return ImageRef(path=str(path)).load() if path else None
    except OSError:
        return None


def _thumbnail(content: bytes | None) -> str | None:
    """A small picture as a ``data:`` address; None where there is none that can be read."""
    if content is None:
        return None
    try:
        image = open_image(content, THUMBNAIL)
    except ValueError:
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return as_data(image)


def too_long(text: str | None, limits: Limits) -> str | None:
    """What is wrong with a title, if anything."""
    letters = len(text or "")
    return f"The title has {letters:,} letters; {limits.letters:,} are the most." if letters > limits.letters else None
