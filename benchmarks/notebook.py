"""What a few minutes of scikit-learn make of the same features, beside what plait makes of them.

    python -m benchmarks.notebook TRAIN TEST image.model=local-dir:FOLDER

Logistic regressions on the image features and on every text encoder, TF-IDF's on its whole matrix, C chosen by accuracy
on the validation rows; the mean of the text regressions; the products of the image's with each and with the mean, the
class prior taken out once and their exponents chosen by validation accuracy, too. Each is given twice: fitted to the
training rows, and with what was chosen to the validation rows, too, as the ``refit`` of GridSearchCV does.
plait gets the same training and validation rows and encoders, and the test rows are looked at once. Needs encoders that
are not tuned in the run.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse, vstack
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from plait.config import configure
from plait.data.partition import divide
from plait.fusion.inputs import logits
from plait.fusion.spec import MODELS
from plait.pipeline.models import fit_model
from plait.pipeline.prepare import Preparation
from plait.report.uncertainty import accuracy_interval, paired
from plait.training.heads.fitter import Fitter

STRENGTHS = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100)  # C
EXPONENTS = np.arange(0.1, 1.55, 0.1)
ITERATIONS = 150
REFITTED = ", refitted"


@dataclass(frozen=True)
class Answers:
    """Log-probabilities (M, K) of the validation rows, and (T, K) of the test rows, before and after a refit."""

    val: np.ndarray
    test: np.ndarray
    refitted: np.ndarray

    @classmethod
    def of(cls, made: Callable[[str], np.ndarray]) -> Answers:
        """Made alike for all rows; takes the name of each attribute."""
        return cls(*(made(one.name) for one in fields(cls)))


@dataclass(frozen=True)
class Side:
    """What one regression reads: rows to train, validate and test."""

    train: Any
    val: Any
    test: Any


def main() -> None:
    """Print a row for each model of the notebook and of plait: accuracy on the test rows with its interval."""
    train, test, *overrides = sys.argv[1:]
    config = configure("quick", overrides=overrides)
    parts = divide(train, config, test=test)
    assert parts.test is not None
    prepared = Preparation(parts.train, config, val=parts.val, val_drawn=parts.val_drawn)
    targets = prepared.numbers(parts.test).numpy()
    print(
        f"{len(prepared.train_pairs):,} rows to train, {len(prepared.val_pairs):,} to choose, {len(targets):,} to test"
    )
    task = prepared.task()
    right: dict[str, np.ndarray] = {}
    fitter = Fitter(task, config, prepared.device)
    for name in MODELS:
        fitted = fit_model(prepared, fitter, name)
        found = logits(fitted.head, prepared.inputs_of(parts.test, fitted.encoders or prepared.make_encoders())).numpy()
        right[f"plait: {name}"] = _tell(f"plait: {name} ({fitted.note})", found, targets)
    y, y_val = task.targets.numpy(), task.val_targets.numpy()
    log_prior = np.log(np.bincount(y, minlength=task.classes).clip(1) / len(y))
    answers = {name: _regression(side, y, y_val, task.classes) for name, side in _sides(prepared, task, parts).items()}
    texts = [name for name in answers if name != "image"]
    if len(texts) > 1:
        three = [answers[name] for name in texts]
        answers["mean of texts"] = Answers.of(lambda part: _mean([getattr(one, part) for one in three]))
    for name in [name for name in answers if name != "image"]:
        answers[f"image x {name}"] = _product(answers["image"], answers[name], log_prior, y_val)
    for name, found in answers.items():
        right[name] = _tell(f"notebook: {name}", found.test, targets)
        right[f"{name}{REFITTED}"] = _tell(f"notebook: {name}{REFITTED}", found.refitted, targets)
    for after in ("", REFITTED):
        _compare(right, [name for name in (*texts, "mean of texts") if name in right], after)


def _compare(right: dict[str, np.ndarray], texts: list[str], after: str) -> None:
    """plait's models beside the notebook's best ones, before or after the refit."""

    def best(names: Iterable[str]) -> str:
        return max(names, key=lambda name: right[name].mean())

    text = best(f"{name}{after}" for name in texts)
    both = best(name for name in right if " x " in name and name.endswith(REFITTED) == bool(after))
    for mine, theirs in (("image", f"image{after}"), ("text", text), ("late", both), ("early", both)):
        gap = paired(right[f"plait: {mine}"], right[theirs])
        low, high = gap.interval
        print(
            f"{mine:<6} over the notebook's best, {theirs}: {100 * gap.difference:+.2f} points "
            f"[{100 * low:+.2f}, {100 * high:+.2f}], p {gap.p:.3f}"
        )


def _sides(prepared: Preparation, task: Any, parts: Any) -> dict[str, Side]:
    """The features of each encoder, as the regressions read them."""
    unseen = prepared.inputs_of(parts.test)
    sides = {"image": Side(*(rows.features["image"].numpy() for rows in (task.train, task.val, unseen)))}
    start = 0
    for i, encoder in enumerate(prepared.make_encoders().text):
        columns = slice(start, start + encoder.dim)
        start += encoder.dim
        if i in task.sparse:
            wide = task.sparse[i]
            sides[encoder.name] = Side(wide.train, wide.val, encoder.matrix(parts.test.texts))  # type: ignore[attr-defined]
        else:
            rows = (task.train, task.val, unseen)
            sides[encoder.name] = Side(*(one.features["text"][:, columns].numpy() for one in rows))
    return sides


def _regression(side: Side, y: np.ndarray, y_val: np.ndarray, classes: int) -> Answers:
    """The regression whose C answers most validation rows right; each starts from the one before it.

    After three in a row that are no better, larger ones are not tried.
    """
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    worse = 0
    model = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
    for strength in STRENGTHS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=strength).fit(side.train, y)
        val = _whole(model, side.val, classes)
        accuracy = float((val.argmax(1) == y_val).mean())
        if best is None or accuracy > best[0]:
            best, worse = (accuracy, strength, val, _whole(model, side.test, classes)), 0
        elif (worse := worse + 1) == 3:
            break
    assert best is not None
    _, strength, val, test = best
    every = (vstack if issparse(side.train) else np.concatenate)([side.train, side.val])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(C=strength).fit(every, np.concatenate([y, y_val]))
    return Answers(val, test, _whole(model, side.test, classes))


def _whole(model: LogisticRegression, rows: Any, classes: int) -> np.ndarray:
    answers = np.full((rows.shape[0], classes), -30.0)
    answers[:, model.classes_] = model.predict_log_proba(rows)
    return answers


def _mean(log_probs: list[np.ndarray]) -> np.ndarray:
    mean: np.ndarray = logsumexp(np.stack(log_probs), axis=0) - np.log(len(log_probs))
    return mean


def _product(image: Answers, text: Answers, log_prior: np.ndarray, y_val: np.ndarray) -> Answers:
    def joined(part: str, a: float, b: float) -> np.ndarray:
        found: np.ndarray = a * (getattr(image, part) - log_prior) + b * (getattr(text, part) - log_prior) + log_prior
        return found

    def right(pair: tuple[float, float]) -> float:
        return float((joined("val", *pair).argmax(1) == y_val).mean())

    a, b = max(product(EXPONENTS, EXPONENTS), key=right)
    return Answers.of(lambda part: joined(part, a, b))


def _tell(name: str, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    right: np.ndarray = answers.argmax(1) == targets
    low, high = accuracy_interval(right)
    print(f"{name:<90} {100 * right.mean():6.2f} % [{100 * low:.2f}, {100 * high:.2f}]", flush=True)
    return right


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
