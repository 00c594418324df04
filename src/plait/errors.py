"""Errors a user can cause. Each message is one line that names the culprit and the remedy.

The command line turns every `PlaitError` into exit code 2 and that one line; anything else is a bug of plait's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class PlaitError(Exception):
    """Base of every error that the user can mend."""


class ConfigError(PlaitError):
    """An unknown preset or key, or a value out of its range."""


class DataError(PlaitError):
    """A source, row, column or label that cannot be used as asked."""


class EncoderError(PlaitError):
    """An encoder that cannot be built, or whose weights cannot be had."""


class StoreError(PlaitError):
    """The feature store cannot be read or written."""


class RunError(PlaitError):
    """A run folder that is missing, incomplete, altered or of another version."""


_by_flags = False  # whether messages are for somebody who typed a command


@contextmanager
def spoken_by_flags() -> Iterator[None]:
    """Let messages name flags of the command line for a block, not parameters."""
    global _by_flags
    before, _by_flags = _by_flags, True
    try:
        yield
    finally:
        _by_flags = before


def setting(*assignments: str) -> str:
    """How to set keys of the configuration: ``data.text=title``, on the command line ``--set data.text=title``."""
    return " ".join(f"--set {one}" for one in assignments) if _by_flags else " and ".join(assignments)


def option(flag: str, parameter: str) -> str:
    """What to call an option: its parameter, on the command line its flag."""
    return flag if _by_flags else parameter


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known spelling with `before` in front, else the known ones.

    >>> did_you_mean("imgae", ["image", "text"])
    " Did you mean 'image'?"
    >>> did_you_mean("zzz", ["image", "text"])
    ' Known: image, text.'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{before}{close[0]}'?"
    return f" Known: {', '.join(known)}." if known else ""


def and_more(items: list[str], show: int = 3) -> str:
    """Join the first `show` items and count the rest: ``"a, b, c and 4 more"``."""
    shown = ", ".join(items[:show])
    return f"{shown} and {len(items) - show} more" if len(items) > show else shown
