"""The command line: one file a verb; what a verb needs is imported when it runs."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from plait import __version__
from plait.cli.app import app_command
from plait.cli.cache import cache
from plait.cli.caption import caption
from plait.cli.compare import compare
from plait.cli.demo import demo
from plait.cli.evaluate import evaluate
from plait.cli.export import export
from plait.cli.find import find
from plait.cli.fit import fit
from plait.cli.index import index
from plait.cli.jobs import encode
from plait.cli.predict import predict
from plait.cli.presets import presets, show_config
from plait.cli.recipe import recipe
from plait.cli.search import search
from plait.cli.serve import serve
from plait.cli.tune import tune
from plait.errors import PlaitError, spoken_by_flags
from plait.memory import reuse_freed
from plait.processes import alone, understood

TOGETHER = ("fit", "compare", "tune")  # what several processes can do together

app = typer.Typer(
    name="plait",
    help="Classify things from a picture and its text together.\n\nStart with [bold]plait demo[/bold]; then "
    "[bold]plait compare DATA[/bold] on your own table or folder.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(demo)
app.command()(compare)
app.command()(fit)
app.command()(evaluate)
app.command()(predict)
app.command()(encode)
app.add_typer(tune, name="tune")
app.command()(index)
app.command()(find)
app.command()(caption)
app.command()(recipe)
app.command()(search)
app.command()(export)
app.command()(serve)
app.command("app")(app_command)
app.command()(cache)
app.command()(presets)
app.command("config")(show_config)


def _version(show: bool) -> None:
    if show:
        print(f"plait {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
    command = context.invoked_subcommand
    if command not in TOGETHER:
        alone(str(command))


STOPPED, TERMINATED = 130, 143  # exit codes of a program that Ctrl-C ended, and that SIGTERM did


@contextmanager
def _ended_cleanly() -> Iterator[None]:
    """A block that SIGTERM, which schedulers and `timeout` send, ends as Ctrl-C does: what is half written goes."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    """Run the command line: exit code 2 and one line on standard error for anything the user can mend."""
    # Read when PyTorch is imported. Threads that wait by spinning are starved by any busy process beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    reuse_freed()
    try:
        with spoken_by_flags(), _ended_cleanly(), understood():
            app()
    except PlaitError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f" of '{error.filename}'" if error.filename else ""
        sys.stderr.write(f"error: no space left on the device{where}; free some (what was encoded so far is kept)\n")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code in (STOPPED, TERMINATED):  # the first is what Typer makes of Ctrl-C
            sys.stderr.write("stopped; what was encoded and trained so far is kept\n")
        raise


if __name__ == "__main__":
    main()
