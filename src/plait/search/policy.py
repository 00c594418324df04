"""The sampler of the paper's kind: a policy over the choices, taught by the rewards of the networks it drew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from plait.errors import ConfigError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

RATE, DECAY = 0.2, 0.9


class PolicySampler(BaseSampler):
    """REINFORCE (Williams 1992) over independent categorical choices, the moving mean of rewards as its baseline.

    MnasNet and EfficientNetV2 draw networks from a policy and teach it by policy gradient; theirs is a recurrent
    network with thousands of draws, this one has a logit for each value of each choice, which tens of draws can teach.
    The policy is made anew from the study's finished trials in their order: it keeps no state that a kill could lose,
    and several processes share it.

    Args:
        seed: of the draws.
        rate: how far one reward moves the logits.
        decay: of the baseline, and of the spread that advantages are divided by.
    """

    def __init__(self, seed: int = 0, rate: float = RATE, decay: float = DECAY):
        self._rng = np.random.default_rng(seed)
        self._rate, self._decay = rate, decay

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if not isinstance(param_distribution, CategoricalDistribution):
            raise ConfigError(f"the policy chooses between values; {param_name} has none")
        values = param_distribution.choices
        done = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number]
        drawn, rewards = [], []
        for one in done:
            value = reward_of(one)
            if value is not None and param_name in one.params:
                drawn.append(values.index(one.params[param_name]))
                rewards.append(value)
        share = policy(drawn, rewards, len(values), self._rate, self._decay)
        return values[self._rng.choice(len(values), p=share)]


def reward_of(trial: FrozenTrial) -> float | None:
    """What a trial teaches: its reward, its last one where it was stopped, 0 where it was refused; None: nothing."""
    if trial.state == TrialState.COMPLETE:
        return float(trial.value) if trial.value is not None else None
    if trial.state == TrialState.PRUNED:
        return float(trial.intermediate_values[max(trial.intermediate_values)]) if trial.intermediate_values else 0.0
    return None


def policy(
    drawn: Sequence[int], rewards: Sequence[float], values: int, rate: float = RATE, decay: float = DECAY
) -> np.ndarray:
    """Probability of each value of one choice, (values,), after draws and their rewards, in order.

    Each draw adds rate · advantage · ∇ log p(drawn) to the logits. The advantage is the reward less the baseline, in
    units of the rewards' spread; the first reward only sets the baseline.
    """
    logits = np.zeros(values)
    baseline, spread = None, 0.0
    for index, reward in zip(drawn, rewards, strict=True):
        if baseline is None:
            baseline = reward
            continue
        off = reward - baseline
        spread = decay * spread + (1 - decay) * off**2 if spread else off**2
        if spread:
            logits += rate * off / spread**0.5 * (np.eye(values)[index] - _softmax(logits))
        baseline = decay * baseline + (1 - decay) * reward
    return _softmax(logits)


def _softmax(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max())
    return np.asarray(grown / grown.sum())
