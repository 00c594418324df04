"""``plait app RUN``: the web page."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from plait.cli.options import DATA_HELP


def app_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or one that was exported.")],
    examples: Annotated[
        str | None, typer.Option(metavar="DATA", help=f"Rows to click as examples. {DATA_HELP}")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in, without a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 7860,
) -> None:
    """Open a web page that answers for a picture and its title, and shows what the answer came from.

    [bold]plait app run --examples test.csv[/bold]
    """
    # Before Gradio is imported, by whatever imports it first.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from plait.app.examples import find_examples
    from plait.app.pictures import Limits
    from plait.app.serve import served, warm_up
    from plait.progress import say
    from plait.runs.open import load

    limits = Limits()
    engine = load(run)
    engine.without_captions("the page")
    rows = find_examples(engine, examples, limits)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads are cleared away then, too
    with (
        contextlib.suppress(KeyboardInterrupt),
        served(engine, run.resolve().name, rows, host, port, limits) as address,
    ):
        warm_up(engine)
        say("the page is open; stop it with Ctrl-C")
        print(address, flush=True)
        threading.Event().wait()
