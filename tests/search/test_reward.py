"""Reward, limits, front, and how costs are measured."""

from __future__ import annotations

import math

import pytest

from plait.errors import ConfigError, spoken_by_flags
from plait.search.measure import in_turns
from plait.search.reward import Cost, Limits, called, front, reward
from plait.search.settings import Plan


def test_the_papers_formula_on_hand_made_numbers() -> None:
    # 2^0.07 = 1.0497167, 4^0.05 = 1.0717735
    assert reward(0.8, 0.5, 0.25) == pytest.approx(0.8 * 1.0497167 * 1.0717735, rel=1e-6)
    assert reward(0.6, 1.5, 2.0) == pytest.approx(0.6 * 0.9720162 * 0.9659363, rel=1e-6)
    assert reward(0.7, 1.0, 1.0) == 0.7  # the reference's own
    assert reward(0.5, 2.0, 2.0, w=-1.0, v=0.0) == 0.25
    assert reward(0.0, 0.1, 0.1) == 0.0


def test_limits_say_what_broke_them() -> None:
    limits = Limits(params=5e6, ms=4.0, step_ms=100.0)
    assert limits.broken(Cost(5_000_000)) == []
    assert limits.broken(Cost(7_139_704)) == ["7,139,704 parameters, above limits.params 5,000,000 parameters"]
    assert limits.broken(Cost(1, step_ms=250.4, step_ratio=1.2, ms=4.5)) == [
        "250 ms a step, above limits.step_ms 100 ms a step",
        "4.5 ms a picture, above limits.ms 4 ms a picture",
    ]
    assert limits.excess(Cost(1, step_ms=250.0, ms=8.0)) == 2.5
    assert not Limits().given
    assert limits.given


def test_front() -> None:
    accuracy = [0.5, 0.6, 0.6, 0.4, 0.6]
    time = [1.0, 2.0, 2.5, 1.0, 2.0]
    size = [1.0, 1.0, 1.0, 0.5, 1.0]
    # The third is beaten by the second; the last equals the second, so both stay; the fourth is the smallest.
    assert front(accuracy, time, size).tolist() == [True, True, False, True, True]


def test_medians_of_what_is_done_in_turns() -> None:
    calls = []

    def timer(name: str, seconds: list[float]) -> object:
        values = iter(seconds)

        def once() -> float:
            calls.append(name)
            return next(values)

        return once

    own = timer("own", [99.0, 2.1, 1.9, 2.0])
    other = timer("other", [99.0, 4.0, 4.2, 4.0])
    assert in_turns(own, other, repeats=3) == (2.0, 4.0)  # type: ignore[arg-type]
    assert calls == ["own", "other"] * 4
    # One that spreads is repeated until its middle half does not: here after four more.
    own = timer("own", [99.0, 1.0, 2.0, 4.0, 2.0, 2.0, 2.0, 2.0])
    other = timer("other", [4.0] * 8)
    assert in_turns(own, other, repeats=3) == (2.0, 4.0)  # type: ignore[arg-type]
    busy = timer("busy", [1.0, 5.0] * 50)
    assert in_turns(busy, timer("other", [4.0] * 50), repeats=3) == (5.0, 4.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "tpee"}, r"^sampler 'tpee' is unknown\. Did you mean 'tpe'\?$"),
        ({"trials": 0}, r"^trials is 0; give 1 or more$"),
        ({"budget": 0.0}, r"^budget is 0; give more than 0$"),
        ({"limits": Limits(params=math.nan)}, r"^limits\.params is nan; give more than 0$"),
        ({"w": 0.1}, r"^w is 0\.1; give 0 or less, so that costly networks weigh less$"),
    ],
)
def test_plans_out_of_range(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Plan(**given)  # type: ignore[arg-type]


def test_the_command_line_hears_of_flags() -> None:
    with spoken_by_flags():
        assert [called(name) for name in ("w", "rows", "limits.step_ms", "warm_start")] == [
            "--time-exponent", "--proxy-rows", "--max-step-ms", "--warm-start",
        ]  # fmt: skip
        with pytest.raises(ConfigError, match=r"^--max-ms is 0; give more than 0$"):
            Plan(limits=Limits(ms=0.0))
