"""Runs as the command line opens them: to read new data, with the keys that may be set for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plait.errors import DataError, RunError

if TYPE_CHECKING:
    from plait.inference.engine import Engine
    from plait.retrieval.space import Space


def open_run(run: Path, overrides: list[str] | None, strict: bool) -> Engine:
    """A run, reading new data with the given overrides and not with the training table's root.

    Columns named in training are taken where the new table has them, as those that were guessed.
    """
    from plait.runs.open import load

    return _reading(load(run), overrides, strict)


def open_for_index(run: Path, overrides: list[str] | None, strict: bool) -> Space:
    """The space of a run or of `plait tune joint`, reading new data as of `open_run`."""
    from plait.retrieval.space import open_space

    space = open_space(run)
    _reading(space.engine, overrides, strict)
    return space


def _reading(engine: Engine, overrides: list[str] | None, strict: bool) -> Engine:
    """The engine, changed in place."""
    from plait.config import configure

    values = engine.config.model_dump()
    # As remembered and no longer as named by the user, so that they need not be in the new table.
    engine.metrics = {**engine.metrics, "columns": engine.columns}
    values["data"] |= {"root": None, "strict": strict}
    values["data"] |= {role: None for role in engine.columns if role in values["data"]}
    allowed = ("data.", "store=", "image.batch=", "image.workers=", "text.batch=")
    if fixed := [one for one in overrides or [] if not one.startswith(allowed)]:
        raise RunError(
            f"--set {fixed[0]}: a fitted run cannot be changed; only data.*, store, batch and workers can be set here"
        )
    engine.config = configure(values=values, overrides=overrides or [])
    return engine


def require_image(file: str) -> None:
    """Raise DataError where the file given as ``--image`` is no image that can be read."""
    from plait.data.images import ImageRef, open_image

    try:
        open_image(ImageRef(path=file).load())
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(f"--image '{file}' cannot be read ({reason}); give another file, or --text alone") from None
