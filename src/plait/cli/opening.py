"""Runs as the command line opens them: to read new data, with the keys that may be set for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plait.errors import RunError

if TYPE_CHECKING:
    from plait.inference.engine import Engine


def open_run(run: Path, overrides: list[str] | None, strict: bool) -> Engine:
    """A run, reading new data with the given overrides and not with the training table's root.

    Columns named in training are taken where the new table has them, as those that were guessed.
    """
    from plait.config import configure
    from plait.runs.open import load

    engine = load(run)
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
