"""Runs as the command line opens them: to read new data, with the keys that may be set for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plait.errors import DataError

if TYPE_CHECKING:
    from plait.inference.engine import Engine
    from plait.retrieval.space import Space


def open_run(run: Path, overrides: list[str] | None, strict: bool) -> Engine:
    """A run that reads new data with the given overrides; see `reading`."""
    from plait.inference.reading import reading
    from plait.runs.open import load

    return reading(load(run), overrides or [], strict)


def open_for_index(run: Path, overrides: list[str] | None, strict: bool) -> Space:
    """The space of a run or of `plait tune joint`, reading new data as of `open_run`."""
    from plait.inference.reading import reading
    from plait.retrieval.space import open_space

    space = open_space(run)
    reading(space.engine, overrides or [], strict)
    return space


def require_image(file: str) -> None:
    """Raise DataError where the file given as ``--image`` is no image that can be read."""
    from plait.data.images import ImageRef, open_image

    try:
        open_image(ImageRef(path=file).load())
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(f"--image '{file}' cannot be read ({reason}); give another file, or --text alone") from None
