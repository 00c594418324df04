"""`compare`: image, text, late and early side by side, on the same rows and the same features."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from plait.config import Config
from plait.data.check import require_known_labels, require_labels
from plait.data.pairs import Pairs
from plait.data.read import read_as, read_beside
from plait.data.split import stratified
from plait.data.told import columns_of
from plait.fitting import Fitter
from plait.fusion.batch import Strands, logits
from plait.fusion.build import MODELS
from plait.joining import fit_model
from plait.preparing import Preparation
from plait.report.results import Evaluation, ModelResult


def compare(train: Any, test: Any = None, config: Config | None = None, val: Any = None) -> Evaluation:
    """Train the four models on the same rows and measure them on the same test rows.

    Args:
        train: anything `read` takes.
        test: the same, for testing; None uses the source's own test split if it has one, else holds out
            ``data.test_fraction`` of the rows, stratified and seeded, with equal pairs on one side.
        config: None for the defaults.
        val: the same, for validation; None uses the source's own split, else ``data.val_fraction`` of `train`.

    Returns:
        The evaluation: what `plait.report` makes tables and pages of.

    Raises:
        PlaitError: anything the user can mend, in one line.
    """
    config = config or Config()
    start = time.perf_counter()
    train_pairs, val_pairs, test_pairs = divide(train, val, test, config)
    prepared = Preparation(train_pairs, config, val=val_pairs)
    require_labels(test_pairs)
    require_known_labels(test_pairs, prepared.labels)
    prepared.seconds["read"] = time.perf_counter() - start
    task = prepared.task()
    strands: dict[int, Strands] = {}
    fitter = Fitter(task, config, prepared.device)
    models = {}
    for name in MODELS:
        fitted = fit_model(prepared, fitter, name)
        encoders = fitted.encoders or prepared.encoders
        if id(encoders) not in strands:
            strands[id(encoders)] = prepared.strands_of(test_pairs, encoders)
        probabilities = logits(fitted.head, strands[id(encoders)]).softmax(1).numpy()
        curve = prepared.curves.get(name) or fitted.curve
        models[name] = ModelResult(probabilities, fitted.seconds, curve, fitted.note)
    prepared.seconds["total"] = time.perf_counter() - start
    return Evaluation(
        labels=prepared.labels,
        targets=prepared.numbers(test_pairs).numpy(),
        models=models,
        pairs=test_pairs,
        train_rows=len(train_pairs) + (len(val_pairs) if val_pairs is not None else 0),
        seconds=prepared.seconds,
        encoded=prepared.encoded,
        warnings=prepared.warnings,
        columns=columns_of(train_pairs, val_pairs, test_pairs),
    )


def divide(train: Any, val: Any, test: Any, config: Config) -> tuple[Pairs, Pairs | None, Pairs]:
    """Training, validation (None: to be held out) and test rows: as given, else the source's own splits, else drawn."""
    pairs = read_as(train, config)
    val_pairs = read_beside(pairs, val, config) if val is not None else None
    if val_pairs is None and "val" in pairs.splits:
        val_pairs = pairs.split("val")
    if test is not None:
        return (
            _without_splits(pairs, ("test",) if val is not None else ("test", "val")),
            val_pairs,
            read_beside(pairs, test, config),
        )
    if "test" in pairs.splits:
        return _without_splits(pairs, ("test", "val")), val_pairs, pairs.split("test")
    pairs = _without_splits(pairs, ("val",)) if val_pairs is not None else pairs
    kept, held = stratified(pairs, config.data.test_fraction, config.seed)
    return pairs.select(kept), val_pairs, pairs.select(held)


def _without_splits(pairs: Pairs, names: tuple[str, ...]) -> Pairs:
    held = [pairs.splits[name] for name in names if name in pairs.splits]
    if not held:
        return pairs
    kept = np.setdiff1d(np.arange(len(pairs)), np.concatenate(held))
    return replace(pairs.select(kept), source=pairs.source)
