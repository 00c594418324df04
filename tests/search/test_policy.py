"""The policy-gradient sampler."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from plait.errors import ConfigError
from plait.search.policy import PolicySampler, policy

optuna.logging.set_verbosity(optuna.logging.ERROR)
ABC = CategoricalDistribution(("a", "b", "c"))


def test_one_update_by_hand() -> None:
    """The first reward is the baseline; the second's advantage is one spread, against logits of zero."""
    assert policy([], [], 2).tolist() == [0.5, 0.5]
    assert policy([0], [0.3], 2).tolist() == [0.5, 0.5]
    # logits 0.2 · 1 · ([1, 0] - [0.5, 0.5]) = [0.1, -0.1]
    expected = np.exp([0.1, -0.1]) / np.exp([0.1, -0.1]).sum()
    assert policy([1, 0], [0.3, 0.5], 2, rate=0.2) == pytest.approx(expected)
    assert policy([1, 1], [0.5, 0.3], 2, rate=0.2) == pytest.approx(expected)  # worse than before: away from it


def test_two_updates_by_hand() -> None:
    """Baseline 0.3 -> 0.9 · 0.3 + 0.1 · 0.5 = 0.32; squared spread 0.04 -> 0.9 · 0.04 + 0.1 · 0.18^2."""
    first = np.exp([0.1, -0.1]) / np.exp([0.1, -0.1]).sum()
    advantage = (0.5 - 0.32) / np.sqrt(0.9 * 0.04 + 0.1 * 0.18**2)
    logits = np.array([0.1, -0.1]) + 0.2 * advantage * (np.array([0.0, 1.0]) - first)
    expected = np.exp(logits) / np.exp(logits).sum()
    assert policy([1, 0, 1], [0.3, 0.5, 0.5], 2, rate=0.2, decay=0.9) == pytest.approx(expected)


def test_the_scale_of_rewards_does_not_matter() -> None:
    rewards = np.random.default_rng(0).random(30)
    drawn = np.random.default_rng(1).integers(0, 3, 30).tolist()
    assert policy(drawn, (100 * rewards + 7).tolist(), 3) == pytest.approx(policy(drawn, rewards.tolist(), 3))
    assert policy(drawn, [0.4] * 30, 3).tolist() == pytest.approx([1 / 3] * 3)  # equal rewards teach nothing


def study_of(seed: int) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=PolicySampler(seed))


def test_learns_what_pays() -> None:
    study = study_of(0)
    study.optimize(lambda t: {"a": 0.2, "b": 0.3, "c": 0.25}[t.suggest_categorical("x", ABC.choices)], n_trials=120)
    last = [one.params["x"] for one in study.trials[-40:]]
    assert last.count("b") > 30


def test_the_seed_and_the_trials_decide() -> None:
    def draws(seed: int) -> list[str]:
        study = study_of(seed)
        study.optimize(lambda t: float(t.suggest_categorical("x", ABC.choices) == "a"), n_trials=20)
        return [one.params["x"] for one in study.trials]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_refused_networks_teach_zero_and_lost_ones_nothing() -> None:
    def share_of_a(*trials: tuple[str, TrialState, float | None]) -> float:
        study = study_of(0)
        for value, state, reward in trials:
            study.add_trial(create_trial(params={"x": value}, distributions={"x": ABC}, state=state, value=reward))
        drawn = [
            PolicySampler(i).sample_independent(study, study.ask()._get_latest_trial(), "x", ABC) for i in range(400)
        ]  # type: ignore[attr-defined]
        return drawn.count("a") / len(drawn)

    good = [("b", TrialState.COMPLETE, 0.5), ("c", TrialState.COMPLETE, 0.5)] * 3
    assert share_of_a(*good, *[("a", TrialState.PRUNED, None)] * 8) < 0.2
    assert share_of_a(*good, *[("a", TrialState.FAIL, None)] * 8) == pytest.approx(1 / 3, abs=0.08)


def test_choices_only() -> None:
    study = study_of(0)
    with pytest.raises(ConfigError, match=r"^the policy chooses between values; x has none$"):
        PolicySampler(0).sample_independent(study, study.ask(), "x", FloatDistribution(0, 1))  # type: ignore[arg-type]
