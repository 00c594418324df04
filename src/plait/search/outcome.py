"""How a trial of the journal ended, and what its network costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState

from plait.search.reward import Cost

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def was_trained(trial: FrozenTrial) -> bool:
    """Whether a finished trial cost a training of its own."""
    done = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return done and not ({"refused", "same_as"} & set(trial.user_attrs))


def cost_of(trial: FrozenTrial) -> Cost:
    """What a trial's network costs, as far as it was measured."""
    known = trial.user_attrs
    return Cost(known.get("params", 0), known.get("step_ms"), known.get("step_ratio"), known.get("ms"))


def best_of(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The finished trial of the highest reward; the first of equal ones. None where none was trained to the end."""
    ended = [one for one in trials if one.state == TrialState.COMPLETE and was_trained(one)]
    return max(ended, key=lambda one: (one.value, -one.number), default=None)


def state_of(trial: FrozenTrial) -> str:
    """A trial's state in a word."""
    if "same_as" in trial.user_attrs:
        return "repeated"
    if trial.state == TrialState.FAIL:
        return "out of time" if "refused" in trial.user_attrs else "lost"
    if "refused" in trial.user_attrs:
        return "refused"
    return {TrialState.COMPLETE: "trained", TrialState.PRUNED: "stopped"}.get(trial.state, "unfinished")
