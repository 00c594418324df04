"""`compare`: image, text, late and early side by side, on the same rows and the same features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from plait.config import Config
from plait.data.check import require_known_labels, require_labels
from plait.data.pairs import Pairs
from plait.data.read import read_as, read_beside
from plait.data.split import stratified
from plait.data.told import columns_of
from plait.errors import ConfigError
from plait.fitting import Fitter, Task
from plait.fusion.batch import Strands, logits
from plait.fusion.build import MODELS
from plait.joining import fit_model
from plait.preparing import Preparation
from plait.progress import say
from plait.report.results import Evaluation, ModelResult


def compare(train: Any, test: Any = None, config: Config | None = None, val: Any = None, seeds: int = 1) -> Evaluation:
    """Train the four models on the same rows and measure them on the same test rows.

    Args:
        train: anything `read` takes.
        test: the same, for testing; None uses the source's own test split if it has one, else holds out
            ``data.test_fraction`` of the rows, stratified and seeded, with equal pairs on one side.
        config: None for the defaults.
        val: the same, for validation; None uses the source's own split, else ``data.val_fraction`` of `train`.
        seeds: how often to train, 1 or more: with ``config.seed``, the next, and so on. Which row trains, validates and
            tests is decided by ``config.seed`` alone; figures are those of the first training, beside their spread.

    Returns:
        The evaluation: what `plait.report` makes tables and pages of.

    Raises:
        PlaitError: anything the user can mend, in one line.
    """
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; give 1 or more")
    config = config or Config()
    start = time.perf_counter()
    train_pairs, val_pairs, test_pairs = divide(train, val, test, config)
    prepared = Preparation(train_pairs, config, val=val_pairs)
    require_labels(test_pairs)
    require_known_labels(test_pairs, prepared.labels)
    prepared.seconds["read"] = time.perf_counter() - start
    task = prepared.task()
    models = _fit(prepared, Fitter(task, config, prepared.device), test_pairs)
    for number in range(1, seeds):
        again = config.model_copy(update={"seed": config.seed + number})
        say(f"training {number + 1} of {seeds}: seed {again.seed}")
        for name, result in _fit_again(prepared, again, task, test_pairs).items():
            models[name].further.append(result.answers)
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
        repeated=repeated(test_pairs, [pairs for pairs in (prepared.train_pairs, prepared.val_pairs) if pairs]),
    )


def _fit(prepared: Preparation, fitter: Fitter, test: Pairs) -> dict[str, ModelResult]:
    """Every model, fitted, and its answers to the test rows."""
    models = {}
    strands: dict[int, Strands] = {}  # models share most encoders
    for name in MODELS:
        fitted = fit_model(prepared, fitter, name)
        encoders = fitted.encoders or prepared.encoders
        if id(encoders) not in strands:
            strands[id(encoders)] = prepared.strands_of(test, encoders)
        probabilities = logits(fitted.head, strands[id(encoders)]).softmax(1).numpy()
        curve = prepared.curves.get(name) or fitted.curve
        models[name] = ModelResult(probabilities, fitted.seconds, curve, fitted.note)
    return models


def _fit_again(prepared: Preparation, config: Config, task: Task, test: Pairs) -> dict[str, ModelResult]:
    """`_fit` on the same rows with another seed: heads alone where encoders stay as they are, else encoders too."""
    joint = (config.joint.image, config.joint.text) != ("frozen", "frozen")
    if not (config.image.tune or not config.image.pretrained or config.text.tune or joint):
        return _fit(prepared, Fitter(task, config, prepared.device), test)
    again = Preparation(prepared.train_pairs, config, val=prepared.val_pairs)
    results = _fit(again, Fitter(again.task(), config, again.device), test)
    prepared.encoded += again.encoded
    return results


def repeated(test: Pairs, known: Sequence[Pairs]) -> dict[str, np.ndarray]:
    """For ``text`` and ``image``, (N,) bool: rows of `test` whose text or image, by content, also stands in `known`."""
    texts = {value for pairs in known for value in pairs.text_hashes} - {None}
    images = {value for pairs in known for value in pairs.image_hashes[0]} - {None}
    return {
        "text": np.array([value in texts for value in test.text_hashes], bool),
        "image": np.array([value in images for value in test.image_hashes[0]], bool),
    }


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
