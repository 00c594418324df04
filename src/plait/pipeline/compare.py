"""`compare`: image, text, late and early side by side, on the same rows and the same features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.config import Config
from plait.data.checks import require_known_labels, require_labels
from plait.data.pairs import Pairs
from plait.data.partition import divide
from plait.data.sketch import seen_rows
from plait.data.told import columns_of
from plait.errors import ConfigError, DataError, option
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.modality import MODALITIES
from plait.fusion.spec import MODELS
from plait.pipeline.budget import cost_of, tuning_seconds, unmeasured
from plait.pipeline.models import fit_model
from plait.pipeline.prepare import Preparation
from plait.progress import say
from plait.report.results import Evaluation, ModelResult
from plait.training.encoders.tuner import learnt_by, pretuned
from plait.training.heads.fitter import Fitter
from plait.training.heads.task import Task


def compare(
    train: Any, test: Any = None, config: Config | None = None, val: Any = None, seeds: int = 1,
    allow_seen: bool = False,
) -> Evaluation:  # fmt: skip
    """Train the four models on the same rows and measure them on the same test rows.

    Args:
        train: anything `read` takes.
        test: the same, for testing; None: as `plait.data.partition.divide` says, which every verb asks.
        config: None for the defaults.
        val: the same, for validation; None: as `divide` says.
        seeds: how often to train, 1 or more: with ``config.seed``, the next, and so on. Which row trains, validates and
            tests is decided by ``config.seed`` alone; figures are those of the first training, beside their spread.
        allow_seen: measure test rows that a tuned encoder has seen, and mark them in the evaluation.

    Returns:
        The evaluation: what `plait.report` makes tables and pages of.

    Raises:
        PlaitError: anything the user can mend, in one line.
    """
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; give 1 or more")
    config = config or Config()
    if config.text.fill is not None:
        say("text.fill is for fit and evaluate: the models of a comparison answer rows without a text by their image")
    start = time.perf_counter()
    parts = divide(train, config, val=val, test=test, learnt=learnt_by(config, MODALITIES))
    if parts.test is None:
        raise DataError(
            f"{parts.train.source}: no test rows; give {option('--test', 'test')}, or data.test_fraction above 0"
        )
    train_pairs, val_pairs, test_pairs = parts.train, parts.val, parts.test
    require_labels(test_pairs)
    known = {name: one.sketch for name, one in pretuned(config, MODALITIES).items()}
    seen = seen_rows(known, test_pairs, allow_seen, "test rows", _remedy())
    prepared = Preparation(train_pairs, config, val=val_pairs, val_drawn=parts.val_drawn, remember=True)
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
        train_rows=len(train_pairs) + len(val_pairs),
        seconds=prepared.seconds,
        encoded=prepared.encoded,
        warnings=prepared.warnings,
        columns=columns_of(train_pairs, val_pairs, test_pairs),
        repeated=repeated(test_pairs, [prepared.train_pairs, prepared.val_pairs]),
        seen=seen,
        unmeasured=unmeasured(prepared),
    )


def _remedy() -> str:
    test, seen = option("--test", "test rows"), option("--allow-seen", "allow_seen=True")
    return (
        f"tune it with the same DATA and seed, or with the same {test}, give other test rows, or have them reported "
        f"apart with {seen}"
    )


def _fit(prepared: Preparation, fitter: Fitter, test: Pairs) -> dict[str, ModelResult]:
    """Every model, fitted, and its answers to the test rows."""
    models = {}
    inputs: dict[int, HeadInputs] = {}  # models share most encoders
    for name in MODELS:
        fitted = fit_model(prepared, fitter, name)
        encoders = fitted.encoders or prepared.make_encoders()
        if id(encoders) not in inputs:
            inputs[id(encoders)] = prepared.inputs_of(test, encoders)
        probabilities = logits(fitted.head, inputs[id(encoders)]).softmax(1).numpy()
        curve = prepared.curves.get(name) or fitted.curve
        models[name] = ModelResult(
            probabilities, fitted.seconds, curve, fitted.note,
            cost_of(prepared, fitted, inputs[id(encoders)]), tuning_seconds(prepared, fitted),
        )  # fmt: skip
    return models


def _fit_again(prepared: Preparation, config: Config, task: Task, test: Pairs) -> dict[str, ModelResult]:
    """`_fit` on the same rows with another seed: heads alone where encoders stay as they are, else encoders too."""
    joint = (config.joint.image, config.joint.text) != ("frozen", "frozen")
    if not (config.image.tune or not config.image.pretrained or config.text.tune or joint):
        return _fit(prepared, Fitter(task, config, prepared.device), test)
    again = Preparation(
        prepared.train_pairs, config, val=prepared.val_pairs, val_drawn=prepared.val_drawn, remember=True,
        warnings=prepared.warnings,
    )  # fmt: skip
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
