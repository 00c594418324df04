"""``plait find``: the rows of an index most like a picture, some words, or both."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.opening import require_image
from plait.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

LINE = 60  # characters of a text in the table


def find(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="A folder that `plait index` wrote.")],
    image: Annotated[str | None, typer.Option(help="An image file to find the like of.")] = None,
    text: Annotated[str | None, typer.Option(help="Words to find the like of; with --image both count.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many rows.")] = 10,
    where: Annotated[
        str | None, typer.Option(metavar="FILTER", help="Only rows for which it holds: 'label = soup and price < 5'.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="What it was built with, where that has moved.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row, instead of a table.")] = False,
) -> None:
    """Find the rows most like a picture, some words, or both.

    [bold]plait find index --text "red shoes" -k 5[/bold]
    [bold]plait find index --image photo.jpg --where "label = shoes"[/bold]
    """
    require_query(image, text)
    from plait.progress import say
    from plait.retrieval.index import Index

    opened = Index.open(index, run)
    found = opened.find(image, text, k, where)
    if len(found) < k:
        say(f"{len(found):,} of the {k:,} asked for: there are no more")
    if as_json:
        sys.stdout.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found))
        return
    from rich.console import Console

    Console(highlight=False, width=None if os.isatty(1) else 140).print(_table(found))


def require_query(image: str | None, text: str | None) -> None:
    """Raise DataError where there is nothing to find by, or an image that cannot be read."""
    if not image and not (text and text.strip()):
        raise DataError("the query has neither an image nor a text; give --image FILE, --text TEXT or both")
    if image:
        require_image(image)


def _table(found: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = list(dict.fromkeys(name for row in found for name in row))
    for name in names:
        table.add_column(name, justify="right" if name == "score" else "left", overflow="fold")
    for row in found:
        table.add_row(*(Text(f"{row[name]:.3f}" if name == "score" else _cell(row.get(name))) for name in names))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    line = " ".join(str(value).split())
    return line if len(line) <= LINE else line[: LINE - 1] + "…"
