"""``plait app RUN``: the web page."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.options import DATA_HELP

if TYPE_CHECKING:
    from plait.inference.engine import Engine
    from plait.pipeline.kitchen import Kitchen

TABS = "Tabs beside the answer"


def app_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or one that was exported.")],
    examples: Annotated[
        str | None, typer.Option(metavar="DATA", help=f"Rows to click as examples. {DATA_HELP}")
    ] = None,
    index: Annotated[
        Path | None, typer.Option(metavar="INDEX", help="Find: what `plait index` wrote.", rich_help_panel=TABS)
    ] = None,
    captioner: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Caption: what `plait tune caption` wrote, or a GIT or BLIP.", rich_help_panel=TABS
        ),
    ] = None,
    cookbook: Annotated[
        str | None, typer.Option(metavar="DATA", help="Recipe: recipes, as for `plait recipe`.", rich_help_panel=TABS)
    ] = None,
    ingredients: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The cookbook's ingredients.", rich_help_panel=TABS)
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Another of its columns to show; may be repeated.", rich_help_panel=TABS),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(metavar="SPACE", help="A joint space, by which photos find recipes.", rich_help_panel=TABS),
    ] = None,
    llm: Annotated[
        str | None, typer.Option(metavar="NAME", help="A local chat model that writes recipes.", rich_help_panel=TABS)
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in, without a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 7860,
) -> None:
    """Open a web page that answers for a picture and its title, and shows what the answer came from.

    [bold]plait app run --examples test.csv[/bold]
    [bold]plait app run --index index --captioner captioner --cookbook recipes.csv --ingredients ingredients[/bold]
    """
    # Before Gradio is imported, by whatever imports it first.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from plait.app.examples import find_examples
    from plait.app.extras import Extras
    from plait.app.pictures import Limits
    from plait.app.serve import served, warm_up
    from plait.progress import say
    from plait.runs.open import load

    limits = Limits()
    engine = load(run)
    engine.without_captions("the page")
    rows = find_examples(engine, examples, limits)
    kitchen = None if cookbook is None else _kitchen(engine, cookbook, (ingredients, tuple(keep or ())), space, llm)
    extras = Extras(_index(index), _captioner(captioner), kitchen)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads are cleared away then, too
    with (
        contextlib.suppress(KeyboardInterrupt),
        served(engine, run.resolve().name, rows, host, port, limits, extras) as address,
    ):
        warm_up(engine)
        say("the page is open; stop it with Ctrl-C")
        print(address, flush=True)
        threading.Event().wait()


def _index(folder: Path | None) -> Any:
    if folder is None:
        return None
    from plait.retrieval.index import Index

    return Index.open(folder)


def _captioner(name: str | None) -> Any:
    if name is None:
        return None
    from plait.captions.folder import load_captioner

    return load_captioner(name)


def _kitchen(
    engine: Engine, cookbook: str, columns: tuple[str | None, tuple[str, ...]], space: Path | None, llm: str | None
) -> Kitchen:
    from plait.cli.opening import open_for_index
    from plait.pipeline.kitchen import Kitchen
    from plait.pipeline.recipe import Columns, Cookbook
    from plait.recipes.chat import load_chat
    from plait.retrieval.space import space_of

    place = space_of(engine) if space is None else open_for_index(space, None, strict=False)
    book = Cookbook(engine, place, cookbook, Columns(*columns))
    return Kitchen(book, chat=load_chat(llm) if llm is not None else None)
