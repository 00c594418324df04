"""The L2 strength of a logistic regression, chosen by a loss on rows that it is not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from plait.training.heads.designs import Design
from plait.training.heads.logistic import COARSE, Answers, Solution, solve

STEPS = 10.0 ** np.arange(0.0, -8, -0.5)  # strengths to try, strongest first, of the variance of the features
START = 10**-4.5  # the first of them tried, or the next weaker one
GAIN = 1e-3  # of the judged loss, that a weaker strength must bring


@dataclass(frozen=True)
class Trial:
    """A design to fit, and how a solution of it is judged on other rows (a loss)."""

    design: Design
    answers: Answers
    judge: Callable[[Solution], float]


def best_strength(trials: Sequence[Trial], steps: Sequence[float] | np.ndarray = STEPS) -> list[Solution]:
    """The optima of the strength with the least judged loss, added over the trials; to within `COARSE` of it.

    Strengths go down from `START`, each from the optimum before it, until the loss gets no better; if it got none at
    once, up until it gets worse: where the rows say little, the loss hardly changes over many weak strengths.

    Args:
        trials: the folds of a cross-validation, or one with validation rows.
        steps: strengths, in units of the total variance of the features, in falling order.
    """
    variance = float(trials[0].design.moments.sum())

    def attempt(step: float, near: _Found | None) -> _Found:
        starts = near.solutions if near is not None else [None] * len(trials)
        found = [
            solve(trial.design, trial.answers, step * variance, start, COARSE)
            for trial, start in zip(trials, starts, strict=True)
        ]
        return _Found(sum(trial.judge(solution) for trial, solution in zip(trials, found, strict=True)), found)

    values = [float(step) for step in steps]
    first = next((i for i, step in enumerate(values) if step <= START * 1.01), 0)
    begin = best = attempt(values[first], None)
    for step in values[first + 1 :]:
        weaker = attempt(step, best)
        if weaker.loss >= best.loss * (1 - GAIN):
            break
        best = weaker
    if best is not begin:
        return best.solutions
    last = begin
    for step in reversed(values[:first]):
        last = attempt(step, last)
        if last.loss > best.loss * (1 + COARSE):
            break
        best = min(best, last, key=lambda found: found.loss)
    return best.solutions


@dataclass(frozen=True)
class _Found:
    loss: float
    solutions: list[Solution]
