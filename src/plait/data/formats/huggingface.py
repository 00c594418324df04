"""Data sets of the Hugging Face hub, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plait.errors import DataError
from plait.hub import reached


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars of `datasets` off inside the block."""
    import datasets

    was_off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not was_off:
            datasets.enable_progress_bars()


def from_hub(name: str) -> Any:
    """Load ``NAME`` or ``NAME:CONFIG`` from the hub, or from the cache where the hub cannot be reached.

    Raises DataError where there is no such data set, or it is not in the cache and the hub cannot be reached.
    """
    import datasets

    repository, _, config = name.partition(":")
    with reached() as reason:
        try:
            return datasets.load_dataset(repository, config or None)
        except Exception as error:  # whatever the client raises, the name given is what the user can mend
            why = reason or str(error).splitlines()[0]
            raise DataError(
                f"no such file or folder: '{name}', and no data set of that name from the Hugging Face hub ({why}); "
                "check the path or the name"
            ) from error
