"""``plait evaluate``: a run measured on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.opening import open_run
from plait.cli.options import AllowSeen, Data, Overwrite, Set, Strict


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and report.html.")] = None,
    set_: Set = None,
    strict: Strict = False,
    allow_seen: AllowSeen = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure a run on labelled rows."""
    from plait.report.write import claim, print_table, write_metrics

    given = {"run": str(run), "data": data, "allow_seen": allow_seen}
    inputs = claim(out, {"command": "evaluate", **given}, overwrite) if out else None
    from plait.pipeline.evaluate import evaluate as run_evaluate

    evaluation = run_evaluate(open_run(run, set_, strict), data, allow_seen)
    print_table(evaluation)
    if out is not None and inputs is not None:
        write_metrics(evaluation, out, inputs)
