"""How sure a figure is: intervals by resampling test rows, an exact test of two models' answers to the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
TAIL = 0.025  # left out at each end of a 95 % interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class Paired:
    """Two models on the same rows.

    Attributes:
        difference: accuracy of the first less that of the second, -1..1.
        interval: 95 % interval of the difference.
        p: probability 0..1 of a difference at least this large, either way, were both equally good (exact McNemar).
        only_first: rows that only the first model answers right. only_second: rows that only the second does.
    """

    difference: float
    interval: Interval
    p: float
    only_first: int
    only_second: int

    @property
    def chance(self) -> bool:
        """Whether the difference may well be chance: p is 0.05 or more."""
        return self.p >= 0.05


def mean_interval(values: np.ndarray, seed: int = 0) -> Interval:
    """95 % percentile bootstrap interval of the mean of (N,) values (Efron & Tibshirani 1993), from 2,000 resamples.

    N rows drawn with replacement matter only by how often each distinct value is among them; these counts are
    multinomial, so drawing them costs by the number of distinct values, not of rows.
    """
    outcomes, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=RESAMPLES)
    low, high = np.percentile(drawn @ outcomes / len(values), [100 * TAIL, 100 * (1 - TAIL)])
    return float(low), float(high)


def accuracy_interval(right: np.ndarray, seed: int = 0) -> Interval:
    """95 % interval in 0..1 of the accuracy of (N,) bool answers, by `mean_interval`.

    Where all rows are right, or all wrong, resampling shows no spread: there the exact bound of Clopper & Pearson 1934.
    """
    if right.all():
        return TAIL ** (1 / len(right)), 1.0
    if not right.any():
        return 0.0, 1 - TAIL ** (1 / len(right))
    return mean_interval(right, seed)


def paired(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Paired:
    """Hold two models against one another by which of the same N rows each answers right: (N,) bool both."""
    each = first.astype(np.int64) - second.astype(np.int64)
    only_first, only_second = int((each > 0).sum()), int((each < 0).sum())
    p = mcnemar(only_first, only_second)
    return Paired(float(each.mean()), mean_interval(each, seed), p, only_first, only_second)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar 1947: the rows that one model alone has right are a coin's throws; 1 without any."""
    from scipy.special import bdtr  # of scipy.stats, binomtest gives the same and takes a second to import

    rows = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), rows, 0.5))) if rows else 1.0


def p_words(p: float) -> str:
    """``p = 0.031``, or ``p < 0.001`` below that."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
