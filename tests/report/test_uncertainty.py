import numpy as np
import pytest
from scipy import stats

from plait.report.uncertainty import accuracy_interval, mcnemar, mean_interval, p_words, paired


def bools(right: int, wrong: int) -> np.ndarray:
    return np.array([True] * right + [False] * wrong)


def test_the_interval_is_that_of_rows_drawn_one_by_one():
    each = np.array([1.0] * 30 + [-1.0] * 12 + [0.0] * 158)
    random = np.random.default_rng(7)
    means = each[random.integers(0, len(each), (20_000, len(each)))].mean(1)
    assert mean_interval(each) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.006)


@pytest.mark.parametrize(("right", "rows"), [(60, 80), (2000, 2525), (3, 25_000)])
def test_the_count_of_right_answers_is_binomial(right, rows):
    low, high = accuracy_interval(bools(right, rows - right))
    ends = stats.binom.ppf([0.025, 0.975], rows, right / rows) / rows
    assert (low, high) == pytest.approx(tuple(ends), abs=1.5 * max(1 / rows, 0.0006))


def test_the_interval_does_not_depend_on_the_order_of_rows_and_is_seeded():
    right = bools(7000, 3000)
    assert accuracy_interval(right) == accuracy_interval(right[::-1]) == accuracy_interval(right)
    assert accuracy_interval(right) != accuracy_interval(right, seed=1)


@pytest.mark.parametrize("right", [bools(20, 0), bools(0, 20), bools(1, 0)])
def test_answers_all_right_or_all_wrong_leave_room_for_doubt(right):
    exact = stats.binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="exact")
    assert accuracy_interval(right) == pytest.approx((exact.low, exact.high))


def test_mcnemar_by_hand():
    assert mcnemar(6, 1) == pytest.approx(2 * (1 + 7) / 2**7)
    assert mcnemar(2, 10) == mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 0) == 1
    assert mcnemar(130, 90) == pytest.approx(2 * stats.binom.cdf(90, 220, 0.5))


def test_paired_answers_by_hand():
    #        both right, only first, only second, neither
    first = np.repeat([True, True, False, False], [50, 12, 3, 35])
    second = np.repeat([True, False, True, False], [50, 12, 3, 35])
    held = paired(first, second)
    assert (held.difference, held.only_first, held.only_second) == (pytest.approx(0.09), 12, 3)
    assert held.p == pytest.approx(2 * sum(stats.binom.pmf(range(4), 15, 0.5)))
    low, high = held.interval
    half = 1.96 * np.sqrt((15 / 100 - 0.09**2) / 100)  # the normal approximation of paired proportions
    assert (low, high) == pytest.approx((0.09 - half, 0.09 + half), abs=0.012)
    other = paired(second, first)
    assert (other.difference, other.only_first, other.only_second, other.p) == (-held.difference, 3, 12, held.p)
    assert other.interval == pytest.approx((-high, -low), abs=0.011)


def test_chance_is_judged_by_p():
    held = paired(np.repeat([True, False], [4, 96]), np.repeat(False, 100))
    assert held.interval[0] > 0
    assert held.p == 0.125
    assert held.chance  # four rows more prove nothing, though no resample is likely to lack them all
    assert not paired(np.repeat([True, False], [6, 94]), np.repeat(False, 100)).chance  # p = 0.03125


def test_p_in_words():
    shown = [p_words(p) for p in (1.0, 0.53, 0.0314, 0.001, 0.00099, 1e-30)]
    assert shown == ["p = 1.000", "p = 0.530", "p = 0.031", "p = 0.001", "p < 0.001", "p < 0.001"]
