"""`compare`: image, text, late and early side by side, on the same rows and the same features."""

from __future__ import annotations

import time
from typing import Any

from plait.config import Config
from plait.data.check import require_known_labels, require_labels
from plait.data.partition import divide
from plait.data.sketch import seen_rows
from plait.errors import DataError
from plait.fitting import Fitter
from plait.fusion.batch import logits
from plait.fusion.build import MODELS
from plait.fusion.strand import STRANDS
from plait.joining import fit_model
from plait.preparing import Preparation
from plait.report.results import Evaluation, ModelResult
from plait.tuned import learnt_by, pretuned

REMEDY = (
    "tune it with the same DATA and seed, or with the same --test, give other test rows, or have them reported apart "
    "with --allow-seen"
)


def compare(
    train: Any, test: Any = None, config: Config | None = None, val: Any = None, allow_seen: bool = False
) -> Evaluation:
    """Train the four models on the same rows and measure them on the same test rows.

    Args:
        train: anything `read` takes.
        test: the same, for testing; None: as `plait.data.partition.divide` says, which every verb asks.
        config: None for the defaults.
        val: the same, for validation.
        allow_seen: measure test rows that a tuned encoder has seen, and mark them in the evaluation.

    Returns:
        The evaluation: what `plait.report` makes tables and pages of.

    Raises:
        PlaitError: anything the user can mend, in one line.
    """
    config = config or Config()
    start = time.perf_counter()
    parts = divide(train, config, val=val, test=test, learnt=learnt_by(config, STRANDS))
    if parts.test is None:
        raise DataError(f"{parts.train.source}: no test rows; give --test, or data.test_fraction above 0")
    train_pairs, val_pairs, test_pairs = parts.train, parts.val, parts.test
    require_labels(test_pairs)
    known = {name: one.sketch for name, one in pretuned(config, STRANDS).items()}
    seen = seen_rows(known, test_pairs, allow_seen, "test rows", REMEDY)
    prepared = Preparation(train_pairs, config, val=val_pairs)
    require_known_labels(test_pairs, prepared.labels)
    prepared.seconds["read"] = time.perf_counter() - start
    task = prepared.task()
    strands = prepared.strands_of(test_pairs)
    fitter = Fitter(task, config, prepared.device)
    models = {}
    for name in MODELS:
        fitted = fit_model(prepared, fitter, name)
        rows = strands if fitted.encoders is None else prepared.strands_of(test_pairs, fitted.encoders)
        probabilities = logits(fitted.head, rows).softmax(1).numpy()
        curve = prepared.curves.get(name) or fitted.curve
        models[name] = ModelResult(probabilities, fitted.seconds, curve, fitted.note)
    prepared.seconds["total"] = time.perf_counter() - start
    return Evaluation(
        labels=prepared.labels,
        targets=prepared.numbers(test_pairs).numpy(),
        models=models,
        pairs=test_pairs,
        train_rows=len(train_pairs) + len(val_pairs),
        seconds=prepared.seconds,
        encoded=prepared.encoded,
        warnings=prepared.warnings,
        seen=seen,
    )
