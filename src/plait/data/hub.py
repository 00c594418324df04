"""Data sets of the Hugging Face hub, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plait.errors import DataError

WAIT = 5.0  # seconds for a first answer from the hub


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


@contextmanager
def _offline() -> Iterator[None]:
    """Have the hub's client use its cache only, instead of retrying for minutes."""
    from huggingface_hub import constants

    was = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was


def _unreachable() -> str:
    """Why the hub cannot be reached, found out by one request; empty where it can."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=WAIT)
    except Exception as error:  # the client's own classes differ between its versions
        return str(error) or type(error).__name__
    return ""


def from_hub(name: str) -> Any:
    """Load ``NAME`` or ``NAME:CONFIG`` from the hub, or from the cache where the hub cannot be reached.

    Raises DataError where there is no such data set, or it is not in the cache and the hub cannot be reached.
    """
    import datasets

    repository, _, config = name.partition(":")
    reason = _unreachable()
    try:
        if not reason:
            return datasets.load_dataset(repository, config or None)
        with _offline():
            return datasets.load_dataset(repository, config or None)
    except Exception as error:  # whatever the client raises, the name given is what the user can mend
        reason = reason or str(error).splitlines()[0]
        raise DataError(
            f"no such file or folder: '{name}', and no data set of that name from the Hugging Face hub ({reason}); "
            "check the path or the name"
        ) from error
