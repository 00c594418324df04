"""How good a model's answers are, as numbers."""

from __future__ import annotations

import numpy as np

from plait.errors import DataError

BINS = 15


def metrics(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Score (N, K) class probabilities against (N,) true classes.

    Returns fractions in 0..1, rounded to 6 digits:

    - ``accuracy``: rows whose most probable class is the true one.
    - ``top5``: rows whose true class is among the min(5, K) most probable.
    - ``macro_f1``: mean F1 over the classes that occur among the targets or the answers, each counting the same;
      a class that occurs in neither says nothing and is left out.
    - ``ece``: expected calibration error, the mean distance between confidence and accuracy over 15 equal-width
      bins of the top probability (Naeini et al. 2015, Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    Raises DataError where there are no rows, ValueError where shapes or values make no sense.
    """
    check(probabilities, targets)
    answers = probabilities.argmax(1)
    # As scikit-learn's top_k_accuracy_score breaks ties: of equal classes, the later ones come first.
    most = np.argsort(probabilities, axis=1, kind="stable")[:, -min(5, probabilities.shape[1]) :]
    values = {
        "accuracy": (answers == targets).mean(),
        "top5": (most == targets[:, None]).any(1).mean(),
        "macro_f1": _macro_f1(answers, targets),
        "ece": calibration_error(probabilities, targets),
    }
    return {name: round(float(value), 6) for name, value in values.items()}


def _macro_f1(answers: np.ndarray, targets: np.ndarray) -> float:
    said, true, both = (np.bincount(x, minlength=1) for x in (answers, targets, targets[answers == targets]))
    classes = max(len(said), len(true))
    said, true, both = (np.pad(x, (0, classes - len(x))) for x in (said, true, both))
    occurs = said + true > 0
    return float((2 * both[occurs] / (said + true)[occurs]).mean())


def check(probabilities: np.ndarray, targets: np.ndarray) -> None:
    """Raise where (N, K) probabilities and (N,) targets cannot be scored: no rows, wrong shapes, NaN, unknown class."""
    if probabilities.ndim != 2 or targets.shape != (len(probabilities),):
        raise ValueError(f"probabilities {probabilities.shape} and targets {targets.shape} are not (N, K) and (N,)")
    if not len(targets):
        raise DataError("no labelled rows to score; give data whose label column is filled")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities hold NaN or infinity")
    if targets.min() < 0 or targets.max() >= probabilities.shape[1]:
        raise ValueError(f"targets lie outside 0..{probabilities.shape[1] - 1}")


def reliability(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(bins, 3): rows, mean confidence and accuracy of each equal-width bin ``(low, high]`` of the top probability.

    Confidence and accuracy are NaN in an empty bin.
    """
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == targets
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = np.bincount(index, minlength=bins).astype(np.float64)
    sums = np.stack([np.bincount(index, weights, minlength=bins) for weights in (confidence, right)], axis=1)
    means = np.divide(sums, rows[:, None], out=np.full_like(sums, np.nan), where=rows[:, None] > 0)
    return np.column_stack([rows, means])


def calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error in 0..1 over the bins of `reliability`, so the number and the diagram agree."""
    rows, confidence, accuracy = reliability(probabilities, targets, bins).T
    return float(np.nansum(rows * np.abs(confidence - accuracy)) / rows.sum())


def per_class_accuracy(probabilities: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """(K,) float64 in 0..1: the share of each class's rows that are answered right; NaN for a class without rows."""
    right = (probabilities.argmax(1) == targets).astype(np.float64)
    rows = np.bincount(targets, minlength=k).astype(np.float64)
    hits = np.bincount(targets, right, minlength=k)
    return np.asarray(np.divide(hits, rows, out=np.full(k, np.nan), where=rows > 0))
