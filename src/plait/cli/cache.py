"""``plait cache``: what the feature store keeps, and getting rid of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from plait.features.cleanup import Kept

MB = 1e6


def cache(
    store: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The store; default: the user's cache.")] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Delete what is of this encoder or kind, or all; may be repeated."),
    ] = None,
    unused: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Delete what was not used for so long; with --clear only that.")
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Merge the pieces of feature tables, while nothing else uses them.")
    ] = False,
) -> None:
    """Show what the feature store keeps by encoder, and clear it by encoder or age.

    [bold]plait cache[/bold]
    [bold]plait cache --clear minilm --unused 30[/bold]
    """
    from plait.features.cleanup import chosen, kept
    from plait.features.cleanup import clear as delete
    from plait.features.cleanup import compact as merge
    from plait.files import cache_folder
    from plait.progress import say

    folder = store or cache_folder()
    if compact:
        say(f"{max(0, merge(folder)) / MB:,.1f} MB freed by merging")
    found = kept(folder)
    if clear or unused is not None:
        gone = chosen(found, clear or (), unused)
        freed = delete(gone)
        say(f"{len(gone):,} of {len(found):,} deleted, {freed / MB:,.1f} MB freed")
        found = kept(folder)
    if not found:
        say("nothing is kept")
    else:
        from rich.console import Console

        Console(highlight=False, width=None if os.isatty(1) else 140).print(_table(found))
    print(folder)


def _table(found: list[Kept]) -> Table:
    from rich.table import Table

    table = Table("kind", "name", "key", box=None, header_style="bold")
    for column in ("rows", "MB", "last used"):
        table.add_column(column, justify="right")
    for one in found:
        rows = "" if one.rows is None else f"{one.rows:,}"
        table.add_row(one.kind, one.name, one.key[:12], rows, f"{one.size / MB:,.1f}", _ago(one.days))
    table.add_section()
    table.add_row("", "together", "", "", f"{sum(one.size for one in found) / MB:,.1f}", "", style="bold")
    return table


def _ago(days: float) -> str:
    if days < 1:
        return "today"
    return f"{days:.0f} {'day' if round(days) == 1 else 'days'} ago"
