"""What an evaluation hands to metrics, plots and the HTML report."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from plait.data.pairs import Pairs


@dataclass(frozen=True)
class ModelResult:
    """One model's answers on one test set.

    Attributes:
        probabilities: (N, K) float32, rows sum to 1.
        fit_seconds: wall seconds its training took; 0 where it was only loaded.
        curves: one dict an epoch: ``epoch`` and any of ``train_loss, val_loss, val_accuracy``.
        note: one line on what it is, e.g. "product of experts, chosen on out-of-fold rows".
    """

    probabilities: np.ndarray
    fit_seconds: float = 0.0
    curves: list[dict[str, float]] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Several models on the same rows.

    Attributes:
        labels: the K class names; column k of every probability array is ``labels[k]``.
        targets: (N,) int64 true class of each row of `pairs`.
        models: results by name, in the order of the table; for `compare` these are image, text, late, early.
        pairs: the N test rows.
        train_rows: how many rows trained the models; 0 where unknown.
        seconds: wall seconds of each stage, e.g. ``{"read": s, "encode_image": s, "encode_text": s, "total": s}``.
        warnings: one line each on what was treated as missing, and why.
        encoded: how many inputs were new and had to be encoded; the others came from the feature store.
        seen: (N,) bool: rows that an encoder or the run has learnt from; None where there are none.
    """

    labels: list[str]
    targets: np.ndarray
    models: dict[str, ModelResult]
    pairs: Pairs
    train_rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    encoded: int = 0
    seen: np.ndarray | None = None  # (N,) bool: rows that an encoder or the run has learnt from
