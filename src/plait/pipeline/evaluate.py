"""`evaluate`: a run, or a classifier just fitted, measured on labelled rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.data.checks import require_known_labels, require_labels
from plait.data.pairs import Pairs
from plait.data.sketch import seen_rows
from plait.data.told import columns_of
from plait.errors import option
from plait.features.store import FeatureStore
from plait.inference.engine import Engine
from plait.inference.fill import CAPTION
from plait.pipeline.fill import words_of
from plait.progress import say
from plait.report.results import Evaluation, ModelResult

if TYPE_CHECKING:
    from plait.pipeline.classifier import Classifier


def evaluate(engine: Engine, data: Any, allow_seen: bool = False) -> Evaluation:
    """Measure a run on labelled rows, anything `read` takes.

    Args:
        allow_seen: measure rows that the run has seen in its training, too, and mark them in the evaluation.

    Raises:
        DataError: rows that the run has seen and that are not allowed; or without a label, or with an unknown one.
    """
    start = time.perf_counter()
    pairs = engine.read(data, labelled=True)
    labels = require_labels(pairs)
    require_known_labels(pairs, engine.labels)
    if engine.seen is None:
        say("warning: this run does not say which rows it has learnt from, and these may be among them")
    known = {_name(engine): engine.seen} if engine.seen is not None else {}
    seen = seen_rows(known, pairs, allow_seen, "rows", _remedy())
    seconds = {"read": time.perf_counter() - start}
    features = engine.features(pairs, FeatureStore(engine.config.store))
    probabilities = engine.probabilities(features)
    seconds |= engine.seconds
    seconds["total"] = time.perf_counter() - start
    numbers = {label: i for i, label in enumerate(engine.labels)}
    targets = np.array([numbers[label] for label in labels], np.int64)
    if CAPTION in features and features[CAPTION].present.any():
        say(words_of(engine, features, targets))
    elif engine.metrics.get("fill") and not pairs.has_text.all():
        say("rows without a text are left blank: captions gained nothing where this run was fitted")
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
    engine = classifier.require_fitted()
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


def _remedy() -> str:
    seen = option("--allow-seen", "allow_seen=True")
    return f"give other rows (SOURCE#test for a source's own test split), or have them reported apart with {seen}"


def _name(engine: Engine) -> str:
    return f"run '{engine.folder}'" if engine.folder else "this classifier"
