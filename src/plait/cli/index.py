"""``plait index``: rows that can be found by picture, by words, or by both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.opening import open_for_index
from plait.cli.options import Data, Overwrite, Set, Strict
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.retrieval.index import Index


def index(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or what `plait tune joint` wrote.")],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="INDEX", help="Folder of the index.")],
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Another column to show and filter by; may be repeated.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(help="auto, exact, ivf_flat, ivf_sq, ivf_pq, ivf_hnsw_flat, ivf_hnsw_sq, ivf_hnsw_pq."),
    ] = "auto",
    add: Annotated[bool, typer.Option("--add", help="Add the rows to the index that is there.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Take rows with these ids out of it.")] = False,
    set_: Set = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
) -> None:
    """Index rows, to be found by [bold]plait find[/bold]; a joint space lets pictures find texts and texts pictures.

    [bold]plait index run catalogue.csv --out index --keep price[/bold]
    [bold]plait index run more.csv --out index --add[/bold]
    """
    from plait.progress import say
    from plait.retrieval.index import Index

    if add and delete:
        raise DataError("give --add or --delete, not both")
    space = open_for_index(run, set_, strict)
    if delete:
        number = Index.open(out, space).delete(space.engine.read(data).ids)
        say(f"{number:,} {'row' if number == 1 else 'rows'} deleted")
    elif add:
        number = Index.open(out, space).add(data)
        say(f"{number:,} {'row' if number == 1 else 'rows'} added")
    else:
        say(_told(Index.build(space, data, out, keep=keep or (), kind=kind, overwrite=overwrite)))
    print(out)


def _told(index: Index) -> str:
    """What was built."""
    search, rows = index.search, f"{len(index):,} {'row' if len(index) == 1 else 'rows'}"
    if search.kind == "exact":
        return f"index: {rows}, searched exactly"
    return (
        f"index: {rows}, {search.kind}: recall {search.recall:.3f} of the exact search with {search.probes} of "
        f"{search.partitions} partitions, {search.speed:.0f} times as fast, by {search.sample} queries of each form"
    )
