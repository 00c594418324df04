"""Progress bars on a terminal; in a log only what is said.

Bars and messages go to standard error, so that what a command prints on standard output can be piped.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from plait.processes import is_first

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """The console all bars and messages share: standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Print one line to standard error, in a log too; of several processes the first does."""
    if not is_first():
        return
    sys.stderr.write(message.rstrip() + "\n")
    sys.stderr.flush()


def show(result: object) -> None:
    """Print one line to standard output: what the command made. Of several processes the first does."""
    if is_first():
        print(result)


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[float], None]]:
    """Yield ``advance(n)`` of a progress bar with rate and time left; off a terminal it does nothing."""
    if not sys.stderr.isatty() or total <= 0 or not is_first():
        yield lambda n: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda n: progress.update(task, advance=n)


@contextmanager
def hushed(*loggers: str) -> Iterator[None]:
    """Keep warnings, and what the named loggers say below an error, off the terminal for a block."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in found:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(found, levels, strict=True):
                logger.setLevel(level)
