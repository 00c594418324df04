"""An opened run that is to read new data, with the keys that may be set for it."""

from __future__ import annotations

from plait.config import configure
from plait.errors import RunError, setting
from plait.inference.engine import Engine

ALLOWED = ("data.", "store=", "image.batch=", "image.workers=", "text.batch=")


def reading(engine: Engine, overrides: list[str], strict: bool) -> Engine:
    """The engine, changed in place to read new data, and not with the training table's root.

    Columns named in training are taken where the new table has them, as those that were guessed.

    Raises:
        RunError: an override of what a fit has settled.
    """
    values = engine.config.model_dump()
    # As remembered and no longer as named by the user, so that they need not be in the new table.
    engine.metrics = {**engine.metrics, "columns": engine.columns}
    values["data"] |= {"root": None, "strict": strict}
    values["data"] |= {role: None for role in engine.columns if role in values["data"]}
    if fixed := [one for one in overrides if not one.startswith(ALLOWED)]:
        raise RunError(
            f"{setting(fixed[0])}: a fitted run cannot be changed; "
            "only data.*, store, batch and workers can be set here"
        )
    engine.config = configure(values=values, overrides=overrides)
    return engine
