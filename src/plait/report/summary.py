"""The content of ``compare.json`` and ``metrics.json``; the table and the report show the same figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.features.costs import Cost
from plait.report.findings import FUSIONS, MODALITIES, right, roles
from plait.report.metrics import metrics
from plait.report.results import Evaluation, ModelResult
from plait.report.uncertainty import Interval, accuracy_interval, paired

SCHEMA = 2
STAGES = ("read", "encode_image", "encode_text", "total")


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Rows, classes, seconds of each stage, every model's metrics and how sure they are: see docs/comparison.md.

    Figures are of ``evaluation.scored``. The four stages are always there, 0.0 where one was not timed; what does not
    apply is left out: ``fusion`` without a fusion and a single modality, ``repeated`` and ``fresh`` where training rows
    are not known, ``seen`` where no row is, ``seeds`` of a single training, ``cost`` that is not known.

    Raises DataError where there are no rows.
    """
    scored = evaluation.scored
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "rows": {"train": int(evaluation.train_rows), "test": len(evaluation.targets)},
        "classes": len(evaluation.labels),
        "seconds": {stage: round(float(evaluation.seconds.get(stage, 0.0)), 3) for stage in STAGES},
        "models": {name: _scores(scored, name) for name in evaluation.models},
    }
    if (fusion := _fusion(scored)) is not None:
        content["fusion"] = fusion
    if scored.repeated is not None:
        anything = np.any(list(scored.repeated.values()), axis=0)
        content["repeated"] = {side: int(rows.sum()) for side, rows in scored.repeated.items()}
        content["repeated"]["any"] = int(anything.sum())
        for name, scores in content["models"].items():
            scores["fresh"] = _fresh(right(scored, name)[~anything])
    if evaluation.seen is not None and evaluation.seen.any():
        content["seen"] = {"rows": int(evaluation.seen.sum()), "scored": len(scored.targets)}
        for name, scores in content["models"].items():
            known = right(evaluation, name)[evaluation.seen]
            scores["seen"] = {"rows": len(known), "accuracy": _rounded(known.mean())}
    if evaluation.unmeasured:
        content["unmeasured"] = list(evaluation.unmeasured)
    return content


def _scores(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """One model's metrics, the interval of its accuracy, and the spread over its trainings where there are several."""
    model = evaluation.models[name]
    scores: dict[str, Any] = metrics(model.probabilities, evaluation.targets)
    scores["fit_seconds"] = round(float(model.fit_seconds), 3)
    scores["interval"] = _ends(accuracy_interval(right(evaluation, name)))
    if model.cost is not None:
        scores["cost"] = _cost(model, model.cost)
    if model.further:
        shares = [float((one == evaluation.targets).mean()) for one in (model.answers, *model.further)]
        scores["seeds"] = {
            "n": len(shares),
            "mean": _rounded(np.mean(shares)),
            "std": _rounded(np.std(shares, ddof=1)),
            "accuracies": [_rounded(share) for share in shares],
        }
    return scores


def _cost(model: ModelResult, cost: Cost) -> dict[str, Any]:
    return {
        "parameters": cost.parameters,
        "megabytes": round(cost.megabytes, 3),
        "milliseconds": round(cost.milliseconds, 4),
        "rows_per_second": round(cost.rows_per_second, 2),
        "training_seconds": round(model.fit_seconds + model.tuning_seconds, 3),
        "encoding": "earlier" if cost.earlier else "now",
    }


def _fusion(evaluation: Evaluation) -> dict[str, Any] | None:
    """The more accurate fusion against the more accurate single modality; None where either is missing."""
    part = roles(evaluation)
    if part.fusion not in FUSIONS or part.baseline not in MODALITIES:
        return None
    held = paired(right(evaluation, part.fusion), right(evaluation, part.baseline))
    return {
        "model": part.fusion,
        "baseline": part.baseline,
        "difference": _rounded(held.difference),
        "interval": _ends(held.interval),
        "p": float(f"{held.p:.6g}"),
        "only_fusion_right": held.only_first,
        "only_baseline_right": held.only_second,
    }


def _fresh(right: np.ndarray) -> dict[str, Any]:
    if not len(right):
        return {"rows": 0, "accuracy": None, "interval": None}
    return {"rows": len(right), "accuracy": _rounded(right.mean()), "interval": _ends(accuracy_interval(right))}


def _ends(interval: Interval) -> list[float]:
    return [_rounded(end) for end in interval]


def _rounded(value: Any) -> float:
    return round(float(value), 6)
