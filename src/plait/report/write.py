"""What commands print and write: the table, compare.json, metrics.json and report.html."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import RunError
from plait.progress import say
from plait.report.results import Evaluation, ModelResult

if TYPE_CHECKING:
    from plait.data.pairs import Pairs
    from plait.inference.engine import Engine
    from plait.pipeline.classifier import Classifier

INPUTS = "inputs.json"
REMEDY = "give other rows (SOURCE#test for a source's own test split), or have them reported apart with --allow-seen"


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


def evaluate_run(engine: Engine, data: Any, allow_seen: bool = False) -> Evaluation:
    """Measure a run on labelled rows, anything `read` takes.

    Args:
        allow_seen: measure rows that the run has seen in its training, too, and mark them in the evaluation.

    Raises:
        DataError: rows that the run has seen and that are not allowed; or without a label, or with an unknown one.
    """
    import numpy as np

    from plait.data.checks import require_known_labels, require_labels
    from plait.data.sketch import seen_rows
    from plait.data.told import columns_of
    from plait.features.store import FeatureStore

    start = time.perf_counter()
    pairs = engine.read(data, labelled=True)
    labels = require_labels(pairs)
    require_known_labels(pairs, engine.labels)
    if engine.seen is None:
        say("warning: this run does not say which rows it has learnt from, and these may be among them")
    known = {_name(engine): engine.seen} if engine.seen is not None else {}
    seen = seen_rows(known, pairs, allow_seen, "rows", REMEDY)
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
        seconds=seconds, warnings=engine.warnings, columns=columns_of(pairs), seen=seen,
    )  # fmt: skip


def measure_apart(classifier: Classifier, test: Pairs) -> str:
    """Measure a fitted classifier on rows kept apart, and note it in its metrics as ``test``: rows and accuracy.

    Rows without a label, and rows that an encoder has seen in an earlier training, are left out.

    Returns:
        One line that says it all.
    """
    import numpy as np

    from plait.features.store import FeatureStore

    engine = classifier.engine
    labelled = np.array([label is not None for label in test.labels])
    seen = engine.seen.seen(test) if engine.seen is not None else np.zeros(len(test), bool)
    reasons = {"without a label": ~labelled, "that an encoder has seen": labelled & seen}
    but = "".join(f"; {rows.sum():,} {why} left out" for why, rows in reasons.items() if rows.any())
    part = test.select(np.flatnonzero(labelled & ~seen))
    if not len(part):
        return f"no accuracy on the {len(test):,} rows kept apart{but}"
    unknown = sum(label not in engine.labels for label in part.labels)
    but += f"; {unknown:,} with a label never seen in training count as wrong" if unknown else ""
    features = engine.features(part, FeatureStore(engine.config.store), classifier.tally_)
    answers = np.array(engine.labels)[engine.probabilities(features).argmax(1)]
    accuracy = float((answers == np.array(part.labels)).mean())
    classifier.metrics_["test"] = {"rows": len(part), "accuracy": round(accuracy, 6)}
    return f"accuracy on {len(part):,} rows kept apart: {accuracy:.2%}{but}"


def _name(engine: Engine) -> str:
    return f"run '{engine.folder}'" if engine.folder else "this classifier"


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
