"""What an evaluation says, as plain data: who is best, by how much, on which classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.report.metrics import per_class_accuracy
from plait.report.results import Evaluation

STRANDS = ("image", "text")
FUSIONS = ("late", "early")


@dataclass(frozen=True)
class Roles:
    """Which model plays which part.

    Attributes:
        best: the most accurate model; the first of the table on a tie.
        fusion: the more accurate of late and early; without either, the best model.
        strands: the models that fusion is held against, most accurate first: image and text, else all others.
    """

    best: str
    fusion: str
    strands: tuple[str, ...]

    @property
    def baseline(self) -> str | None:
        """The better single strand; None where fusion is the only model."""
        return self.strands[0] if self.strands else None


@dataclass(frozen=True)
class ClassGain:
    """One class: how many test rows it has, and the accuracy in 0..1 of the baseline (None without one) and fusion."""

    label: str
    rows: int
    before: float | None
    after: float

    @property
    def gain(self) -> float:
        """Accuracy gained, -1..1; the accuracy itself where there is no baseline."""
        return self.after - (self.before or 0.0)


def answers(evaluation: Evaluation, model: str) -> np.ndarray:
    """(N,) int64: the most probable class of each row."""
    return np.asarray(evaluation.models[model].probabilities.argmax(1), dtype=np.int64)


def right(evaluation: Evaluation, model: str) -> np.ndarray:
    """(N,) bool: the model's answer is the true class."""
    return np.asarray(answers(evaluation, model) == evaluation.targets)


def roles(evaluation: Evaluation) -> Roles:
    """Who is best, who counts as fusion and what it is compared with; works for any names and for one model."""
    accuracy = {name: float(right(evaluation, name).mean()) for name in evaluation.models}
    ranked = sorted(accuracy, key=lambda name: -accuracy[name])
    fusion = next((name for name in ranked if name in FUSIONS), ranked[0])
    others = [name for name in ranked if name != fusion]
    strands = [name for name in others if name in STRANDS] or others
    return Roles(ranked[0], fusion, tuple(strands))


def difference(evaluation: Evaluation, model: str, other: str) -> tuple[float, float]:
    """Accuracy of `model` over `other` in points, and the half width of its 95 % interval.

    Both answer the same rows, so the interval is that of paired proportions (McNemar 1947).
    """
    each = right(evaluation, model).astype(float) - right(evaluation, other).astype(float)
    return 100 * float(each.mean()), 196 * float(each.std() / np.sqrt(len(each)))


def verdict(evaluation: Evaluation) -> tuple[str, str]:
    """A headline and a sentence of detail, in words: which model is best, by how much, and whether it may be chance."""
    part = roles(evaluation)
    share = 100 * right(evaluation, part.best).mean()
    if part.baseline is None:
        return f"{part.best} is right on {share:.1f} % of the rows.", ""
    rival = part.baseline if part.best == part.fusion else part.fusion
    gain, half = difference(evaluation, part.best, rival)
    alone = " alone" if rival in STRANDS else ""
    chance = "" if gain > half else " It includes zero, so the lead may be chance."
    detail = f"95 % interval of the difference: {gain - half:+.1f} to {gain + half:+.1f} points.{chance}"
    if gain == 0:
        return f"{part.best} and {rival}{alone} are level: both are right on {share:.1f} % of the rows.", detail
    lead = f"{gain:.1f} points over {rival}{alone}"
    if part.best != part.fusion:
        lead += ", the better fusion" if rival in FUSIONS else ""
    return f"{part.best} is best: {share:.1f} % right, {lead}.", detail


def class_gains(evaluation: Evaluation) -> list[ClassGain]:
    """Every class with test rows, by what fusion gained over the better single strand, most first."""
    part = roles(evaluation)
    k = len(evaluation.labels)
    rows = np.bincount(evaluation.targets, minlength=k)
    after = per_class_accuracy(evaluation.models[part.fusion].probabilities, evaluation.targets, k)
    before = None
    if part.baseline is not None:
        before = per_class_accuracy(evaluation.models[part.baseline].probabilities, evaluation.targets, k)
    gains = [
        ClassGain(label, int(rows[c]), None if before is None else float(before[c]), float(after[c]))
        for c, label in enumerate(evaluation.labels)
        if rows[c]
    ]
    return sorted(gains, key=lambda item: (-item.gain, item.label))


def overconfidence(evaluation: Evaluation, model: str) -> float:
    """Mean confidence less accuracy, -1..1: above zero the model is surer than it is right."""
    confidence = evaluation.models[model].probabilities.max(1).astype(np.float64)
    return float(confidence.mean() - right(evaluation, model).mean())
