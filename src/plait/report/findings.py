"""What an evaluation says, as plain data: who is best, by how much, on which classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.errors import setting
from plait.report.metrics import per_class_accuracy
from plait.report.results import Evaluation
from plait.report.uncertainty import Paired, accuracy_interval, p_words, paired

MODALITIES = ("image", "text")
FUSIONS = ("late", "early")


@dataclass(frozen=True)
class Roles:
    """Which model plays which part.

    Attributes:
        best: the most accurate model; the first of the table on a tie.
        fusion: the more accurate of late and early; without either, the best model.
        modalities: the models that fusion is held against, most accurate first: image and text, else all others.
    """

    best: str
    fusion: str
    modalities: tuple[str, ...]

    @property
    def baseline(self) -> str | None:
        """The better single modality; None where fusion is the only model."""
        return self.modalities[0] if self.modalities else None


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


def right(evaluation: Evaluation, model: str) -> np.ndarray:
    """(N,) bool: the model's answer is the true class."""
    return np.asarray(evaluation.models[model].answers == evaluation.targets)


def roles(evaluation: Evaluation) -> Roles:
    """Who is best, who counts as fusion and what it is compared with; works for any names and for one model."""
    accuracy = {name: float(right(evaluation, name).mean()) for name in evaluation.models}
    ranked = sorted(accuracy, key=lambda name: -accuracy[name])
    fusion = next((name for name in ranked if name in FUSIONS), ranked[0])
    others = [name for name in ranked if name != fusion]
    modalities = [name for name in others if name in MODALITIES] or others
    return Roles(ranked[0], fusion, tuple(modalities))


def verdict(evaluation: Evaluation) -> tuple[str, str]:
    """A headline and a sentence of detail, in words: which model is best, by how much, and whether it may be chance."""
    part = roles(evaluation)
    mine = right(evaluation, part.best)
    share = f"{100 * mine.mean():.1f} %"
    if part.baseline is None:
        low, high = accuracy_interval(mine)
        return f"{part.best} is right on {share} of the rows.", f"95 % interval: {100 * low:.1f} to {100 * high:.1f} %."
    rival = part.baseline if part.best == part.fusion else part.fusion
    held = paired(mine, right(evaluation, rival))
    alone = " alone" if rival in MODALITIES else ""
    detail = odds(held, part.best, rival)
    if held.difference == 0:
        return f"{part.best} and {rival}{alone} are level: both are right on {share} of the rows.", detail
    lead = f"{100 * held.difference:.1f} points over {rival}{alone}"
    if part.best != part.fusion:
        lead += ", the better fusion" if rival in FUSIONS else ""
    if held.chance:
        return f"{part.best} is ahead: {share} right, {lead}. That may be chance.", detail
    return f"{part.best} is best: {share} right, {lead}.", detail


def odds(held: Paired, first: str, second: str) -> str:
    """How sure the difference between two models is, for people: its interval, the rows behind it, and its p."""
    if not held.only_first + held.only_second:
        return "They are right on the very same rows."
    low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in held.interval)
    share = "less than 0.1" if held.p < 0.001 else f"{100 * held.p:.1f}" if held.p < 0.1 else f"{100 * held.p:.0f}"
    return (
        f"95 % interval of the difference: {low} to {high} points. Only {first} is right on {held.only_first:,} rows, "
        f"only {second} on {held.only_second:,}; were both equally good, chance would set them this far apart, one way "
        f"or the other, in {share} % of such test sets (exact McNemar test, {p_words(held.p)})."
    )


def repeats_words(scores: dict[str, Any]) -> str:
    """How many rows of a `summary` repeat training rows: ``622 of 2,525 test rows repeat a text of ...``."""
    counts, rows = scores["repeated"], scores.get("seen", {}).get("scored", scores["rows"]["test"])
    kind = "unseen test rows" if rows < scores["rows"]["test"] else "test rows"
    sides = {"text": "a text", "image": "an image"}
    found = [(counts[side], words) for side, words in sides.items() if counts.get(side)]
    if not found:
        return f"none of the {rows:,} {kind} repeats a text or an image of the training rows"
    (first, words), *others = found
    repeat = "repeats" if first == 1 else "repeat"
    tail = "".join(f", {count:,} {words}: {counts['any']:,} in all" for count, words in others)
    return f"{first:,} of {rows:,} {kind} {repeat} {words} of the training rows{tail}"


def class_gains(evaluation: Evaluation) -> list[ClassGain]:
    """Every class with test rows, by what fusion gained over the better single modality, most first."""
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


def front(costs: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """The Pareto front, cheapest first: numbers of those that none beats, being as cheap and as accurate, and more so
    in one of the two. Of several that are equal in both, all."""
    points = list(zip(costs, accuracies, strict=True))

    def beaten(cost: float, accuracy: float) -> bool:
        return any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in points)

    return sorted((i for i, point in enumerate(points) if not beaten(*point)), key=lambda i: points[i])


def unmeasured_words(names: Sequence[str]) -> str:
    """Why the cost of some models is missing, and the remedy."""
    return (
        f"the cost of models with {' and '.join(names)} is not known: features were stored without it, or on another "
        f"machine; {setting('store=FOLDER')} with a new folder encodes anew and measures it"
    )


def overconfidence(evaluation: Evaluation, model: str) -> float:
    """Mean confidence less accuracy, -1..1: above zero the model is surer than it is right."""
    confidence = evaluation.models[model].probabilities.max(1).astype(np.float64)
    return float(confidence.mean() - right(evaluation, model).mean())
