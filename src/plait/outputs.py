"""What commands print and write: the table, compare.json, metrics.json and report.html."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import RunError
from plait.report.results import Evaluation, ModelResult

if TYPE_CHECKING:
    from plait.data.pairs import Pairs
    from plait.engine import Engine

INPUTS = "inputs.json"


def claim(folder: Path, inputs: dict[str, Any], overwrite: bool = False) -> dict[str, Any]:
    """Make sure results may be written to `folder`, before any work is done; return `inputs`.

    The same command on the same inputs may replace its own results.

    Raises:
        RunError: the folder is a file, a run, or holds results of other inputs.
    """
    if folder.is_file():
        raise RunError(f"--out '{folder}' is a file; give a folder")
    if overwrite or not folder.is_dir():
        return inputs
    if (folder / "run.json").exists():
        raise RunError(f"--out '{folder}' already holds a run; choose another folder")
    results = [name for name in ("compare.json", "metrics.json") if (folder / name).exists()]
    known = _read(folder / INPUTS)
    if isinstance(known, dict):
        known.pop("columns", None)  # what was found in the inputs
    if results and known != json.loads(json.dumps(inputs)):
        raise RunError(
            f"--out '{folder}' holds {results[0]} of another run; choose another folder, or replace it with --overwrite"
        )
    return inputs


def print_table(evaluation: Evaluation) -> None:
    """The table of models and the lines under it, on standard output."""
    from rich.console import Console

    from plait.report.summary import summary
    from plait.report.table import notes, table

    scores = summary(evaluation)
    console = Console(highlight=False, width=None if os.isatty(1) else 110)
    console.print(table(scores))
    for line in notes(scores):
        console.print(line, markup=False, style="bold" if line.startswith("WARNING") else None)


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


def evaluate_run(engine: Engine, data: Any) -> Evaluation:
    """Measure a run on labelled rows, anything `read` takes."""
    import numpy as np

    from plait.data.check import require_known_labels, require_labels
    from plait.data.told import columns_of
    from plait.features import FeatureStore

    start = time.perf_counter()
    pairs = engine.read(data, labelled=True)
    labels = require_labels(pairs)
    require_known_labels(pairs, engine.labels)
    seconds = {"read": time.perf_counter() - start}
    probabilities = engine.predict_proba(pairs, FeatureStore(engine.config.store))
    seconds |= engine.seconds
    seconds["total"] = time.perf_counter() - start
    numbers = {label: i for i, label in enumerate(engine.labels)}
    targets = np.array([numbers[label] for label in labels], np.int64)
    result = ModelResult(probabilities, 0.0, [], str(engine.metrics.get("note", "")))
    rows = int(engine.metrics.get("rows", 0))
    models = {engine.model: result}
    return Evaluation(
        engine.labels, targets, models, pairs, rows,
        seconds=seconds, warnings=engine.warnings, columns=columns_of(pairs),
    )  # fmt: skip


def _write(evaluation: Evaluation, folder: Path, name: str, inputs: dict[str, Any]) -> None:
    from plait.report.html import write_report
    from plait.report.summary import summary

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_report(evaluation, folder / "report.html")
        _replace(folder / INPUTS, inputs | {"columns": evaluation.columns})
        _replace(folder / name, summary(evaluation))
    except OSError as error:
        raise RunError(
            f"--out '{folder}' cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    print(f"report: {folder / 'report.html'}")


def _replace(file: Path, content: dict[str, Any]) -> None:
    """Write JSON so that the file is whole at every moment."""
    part = file.with_name(f".{file.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    os.replace(part, file)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
