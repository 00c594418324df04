"""What an evaluation hands to metrics, plots and the HTML report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from plait.data.pairs import Pairs
from plait.features.costs import Cost


@dataclass(frozen=True)
class ModelResult:
    """One model's answers on one test set.

    Attributes:
        probabilities: (N, K) float32, rows sum to 1.
        fit_seconds: wall seconds its training took; 0 where it was only loaded.
        curves: one dict an epoch: ``epoch`` and any of ``train_loss, val_loss, val_accuracy``.
        note: one line on what it is, e.g. "product of experts, chosen on out-of-fold rows".
        cost: what an answer costs, encoding included; None where that is not known.
        tuning_seconds: what tuning its encoders took, in this run or before; not in `fit_seconds`.
        further: of each further training, with other seeds, the class it answers for every row: (N,) int64.
    """

    probabilities: np.ndarray
    fit_seconds: float = 0.0
    curves: list[dict[str, float]] = field(default_factory=list)
    note: str = ""
    cost: Cost | None = None
    tuning_seconds: float = 0.0
    further: list[np.ndarray] = field(default_factory=list)

    @property
    def answers(self) -> np.ndarray:
        """(N,) int64: the most probable class of each row."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    def of(self, rows: np.ndarray) -> ModelResult:
        """The answers to some of the rows, given as (N,) bool."""
        return replace(self, probabilities=self.probabilities[rows], further=[one[rows] for one in self.further])


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
        columns: by source, which columns were taken and which ignored; see `plait.data.told.columns_of`.
        repeated: for ``text`` and ``image``, (N,) bool: rows whose text or image also stands among the rows that
            trained or validated; None where those rows are not known.
        seen: (N,) bool: rows that an encoder or the run has learnt from; None where there are none.
        unmeasured: names of encoders whose features were stored without what they cost.
    """

    labels: list[str]
    targets: np.ndarray
    models: dict[str, ModelResult]
    pairs: Pairs
    train_rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    encoded: int = 0
    columns: dict[str, Any] = field(default_factory=dict)
    repeated: dict[str, np.ndarray] | None = None
    seen: np.ndarray | None = None
    unmeasured: list[str] = field(default_factory=list)

    @property
    def scored(self) -> Evaluation:
        """The rows that figures are of: those not `seen`; all of them where every row is."""
        if self.seen is None or not self.seen.any() or self.seen.all():
            return self
        return self.of(~self.seen)

    def of(self, rows: np.ndarray) -> Evaluation:
        """The same models on some of the rows, given as (N,) bool."""
        return replace(
            self,
            targets=self.targets[rows],
            models={name: model.of(rows) for name, model in self.models.items()},
            pairs=self.pairs.select(np.flatnonzero(rows)),
            repeated=self.repeated and {side: found[rows] for side, found in self.repeated.items()},
            seen=None if self.seen is None else self.seen[rows],
        )
