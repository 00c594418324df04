"""What commands print and write: the table, compare.json, metrics.json and report.html."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import RunError, option
from plait.files import MANIFEST, blamed_on, read_json, require_folder, write_json
from plait.report.results import Evaluation

if TYPE_CHECKING:
    from plait.data.pairs import Pairs

INPUTS = "inputs.json"


def claim(folder: Path, inputs: dict[str, Any], overwrite: bool = False) -> dict[str, Any]:
    """Make sure results may be written to `folder`, before any work is done; return `inputs`.

    The same command on the same inputs may replace its own results.

    Raises:
        RunError: the folder is a file, a run, or holds results of other inputs.
    """
    out, replace = option("--out", "folder"), option("--overwrite", "overwrite=True")
    require_folder(folder)
    if overwrite or not folder.is_dir():
        return inputs
    if (folder / MANIFEST).exists():
        raise RunError(f"{out} '{folder}' already holds a run; choose another folder")
    results = [name for name in ("compare.json", "metrics.json") if (folder / name).exists()]
    known = read_json(folder / INPUTS)
    if isinstance(known, dict):
        known.pop("columns", None)  # what was found in the inputs
    if results and known != json.loads(json.dumps(inputs)):
        raise RunError(
            f"{out} '{folder}' holds {results[0]} of another run; choose another folder, or replace it with {replace}"
        )
    return inputs


def print_table(evaluation: Evaluation) -> None:
    """The table of models, the lines under it, and the table of what they cost, on standard output."""
    from rich.console import Console

    from plait.report.summary import summary
    from plait.report.table import cost_table, notes, table

    scores = summary(evaluation)
    console = Console(highlight=False, width=None if os.isatty(1) else 110)
    console.print(table(scores))
    for line in notes(scores):
        console.print(line, markup=False, style="bold" if line.startswith("WARNING") else None)
    if (costs := cost_table(scores)) is not None:
        console.print(costs)


def write_comparison(evaluation: Evaluation, folder: Path, inputs: dict[str, Any]) -> None:
    """compare.json and report.html; says where the report is."""
    _write(evaluation, folder, "compare.json", inputs)


def write_metrics(evaluation: Evaluation, folder: Path, inputs: dict[str, Any]) -> None:
    """metrics.json, with the same keys for each model, and report.html."""
    _write(evaluation, folder, "metrics.json", inputs)


def write_pairs(pairs: Pairs, file: Path) -> None:
    """A Parquet table of pairs with the images in it, as `read` takes it; says where it is."""
    import pyarrow.parquet as pq

    pq.write_table(pairs.table.with_format("arrow")[:], file)
    print(f"sample: {file}")


def _write(evaluation: Evaluation, folder: Path, name: str, inputs: dict[str, Any]) -> None:
    from plait.report.html import write_report
    from plait.report.summary import summary

    with blamed_on(folder):
        write_report(evaluation, folder / "report.html")
        write_json(folder / INPUTS, inputs | {"columns": evaluation.columns})
        write_json(folder / name, summary(evaluation))
    print(f"report: {folder / 'report.html'}")
