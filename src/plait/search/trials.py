"""One network after the other: drawn, weighed, refused or trained, and rewarded."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from optuna import TrialPruned
from optuna.trial import TrialState

from plait.encoders.image import create_model
from plait.errors import ConfigError, EncoderError
from plait.progress import say
from plait.search.measure import Stepper, in_turns, inference_ms, params_of
from plait.search.outcome import cost_of, was_trained
from plait.search.proxy import Proxy
from plait.search.reward import Cost, called, reward
from plait.search.settings import Plan
from plait.search.space import Choice, Network, Space, starting_point
from plait.search.study import Journal, choices_of
from plait.training.seeds import seeded

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

IN_VAIN = 200  # draws in a row that lead to no training, before a search gives up


class _OutOfTimeError(Exception):
    """The budget does not reach for another training."""


@dataclass
class Trials:
    """The trials of a search, in one process.

    Args:
        journal: where they are kept. space: what may be drawn. plan: what was asked for.
        proxy: the short training. stepper: what times training steps.
    """

    journal: Journal
    space: Space
    plan: Plan
    proxy: Proxy
    stepper: Stepper
    _vain: int = field(default=0, init=False)

    @cached_property
    def reference(self) -> torch.nn.Module:
        """The network that time and size are relative to, with a classifier of K classes."""
        with seeded(self.proxy.seed):
            return create_model(self.plan.reference, False, num_classes=self.proxy.classes)

    @cached_property
    def reference_point(self) -> Network | None:
        """Where the reference is in the space; None where it is none of its points."""
        return self.space.known(self.plan.reference)

    @property
    def trained(self) -> list[FrozenTrial]:
        """Finished trials that cost a training."""
        return [one for one in self.journal.trials if was_trained(one)]

    @property
    def spent(self) -> float:
        """Seconds that the trials took, of all processes together."""
        return float(sum(one.user_attrs.get("seconds", 0.0) for one in self.journal.trials))

    def run(self) -> None:
        """Try networks until the plan's trials or minutes are over.

        Raises:
            ConfigError: limits that no network meets, or a budget that ends before one is trained.
        """
        limits = {"trials": self.plan.trials, "budget": self.plan.budget}
        if self.journal.attribute("ended") == limits:
            return
        if not self.trained:
            self._require_budget()
            self._require_limits()
        self._enqueue()
        while not self._enough():
            trial, choices = self.journal.ask(self.space)
            try:
                self._try(trial, choices)
            except _OutOfTimeError:
                break
            if self._vain >= IN_VAIN:
                self._give_up()
                break
        if not self.journal.others():
            self.journal.note("ended", limits)

    def cost(self, network: Network) -> tuple[Cost, list[str]]:
        """What a network costs, and which limits it breaks; what is cheap to know is looked at first."""
        limits = self.plan.limits
        with seeded(self.proxy.seed):
            model = network.build(self.proxy.classes)
        cost = Cost(params_of(model))
        if broken := limits.broken(cost):
            return cost, broken
        own, other = in_turns(
            self.stepper.step(model, network.size), self.stepper.step(self.reference, self.space.sizes[-1])
        )
        is_reference = self.reference_point is not None and network == self.reference_point
        cost = Cost(cost.params, 1000 * own, 1.0 if is_reference else own / other)
        if limits.ms is not None and not limits.broken(cost):
            ms = inference_ms(model.to("cpu"), network.size)
            cost = Cost(cost.params, cost.step_ms, cost.step_ratio, ms)
        return cost, limits.broken(cost)

    def _enough(self) -> bool:
        """Whether the plan's trials are done or under way, those of dead processes not counted."""
        if self.journal.reclaim(self.space):
            say("a trial whose process ended is tried again")
        running = self.journal.others()
        return len(self.trained) + running >= self.plan.trials

    def _enqueue(self) -> None:
        """The reference and the other starting points come first."""
        if self.reference_point is not None:
            self.journal.enqueue(self.reference_point.choices, self.plan.reference)
        for name in self.plan.warm_start:
            self.journal.enqueue(starting_point(self.space, name).choices, name)

    def _try(self, trial: Trial, choices: dict[str, Choice]) -> None:
        start = time.perf_counter()
        self._vain += 1
        if (twin := self._twin(trial.number, choices)) is not None:
            self._repeat(trial, twin)
            return
        network = self.space.network(choices)
        trial.set_user_attr("blocks", list(network.blocks))
        cost, broken = self.cost(network)
        for name in ("params", "step_ms", "step_ratio", "ms"):
            trial.set_user_attr(name, getattr(cost, name))
        value = None
        if not broken:
            self._require_time(trial, network, cost, start)
            value, broken = self._train(trial, network, cost)
        if broken:
            trial.set_user_attr("refused", broken)
        trial.set_user_attr("seconds", time.perf_counter() - start)
        self.journal.study.tell(trial, value, TrialState.PRUNED if value is None else TrialState.COMPLETE)
        self._say(trial.number)

    def _train(self, trial: Trial, network: Network, cost: Cost) -> tuple[float | None, list[str]]:
        """Train a network: its reward, None where it was stopped early; and why it could not be trained here."""
        assert cost.step_ratio is not None
        name = self.journal.trials[trial.number].user_attrs.get("name")
        step, size, plan = cost.step_ratio, cost.params / params_of(self.reference), self.plan

        def report(epoch: int, accuracy: float) -> None:
            found = reward(accuracy, step, size, plan.w, plan.v)
            for key, value in (("accuracy", accuracy), ("reward", found), ("epochs", epoch)):
                trial.set_user_attr(key, value)
            trial.report(found, epoch)
            # A network that was asked for by name is trained to the end, so that others can be held against it.
            if trial.should_prune() and epoch < plan.epochs and not name:
                raise TrialPruned

        self._vain = 0
        try:
            return reward(self.proxy.accuracy(network, report), step, size, plan.w, plan.v), []
        except TrialPruned:
            return None, []
        except EncoderError as error:
            return None, [str(error)]

    def _twin(self, number: int, choices: dict[str, Choice]) -> FrozenTrial | None:
        done = (TrialState.COMPLETE, TrialState.PRUNED)
        found = (one for one in self.journal.trials if one.state in done and one.number != number)
        return next((one for one in found if choices_of(one) == choices), None)

    def _repeat(self, trial: Trial, twin: FrozenTrial) -> None:
        """Tell a network's result again, which would be the same: rows and seed are."""
        trial.set_user_attr("same_as", twin.user_attrs.get("same_as", twin.number))
        if twin.state == TrialState.COMPLETE:
            self.journal.study.tell(trial, twin.value)
            return
        for epoch, value in twin.intermediate_values.items():
            trial.report(value, epoch)
        self.journal.study.tell(trial, state=TrialState.PRUNED)

    def _require_time(self, trial: Trial, network: Network, cost: Cost, start: float) -> None:
        assert cost.step_ms is not None
        if self.plan.budget is None:
            return
        left = 60 * self.plan.budget - self.spent - (time.perf_counter() - start)
        needed = self.proxy.seconds(network, cost.step_ms)
        if needed > left:
            trial.set_user_attr("refused", [f"about {needed / 60:.1f} minutes of training; {left / 60:.1f} were left"])
            self.journal.study.tell(trial, state=TrialState.FAIL)
            raise _OutOfTimeError

    def _require_budget(self) -> None:
        """Raise ConfigError where the budget is too short for one trial: the reference's, else the smallest's."""
        if self.plan.budget is None:
            return
        network = self.reference_point or self.space.smallest
        cost, _ = self.cost(network)
        needed = self.proxy.seconds(network, cost.step_ms or 0.0) / 60
        if needed > self.plan.budget:
            name = self.plan.reference if self.reference_point is not None else "the smallest network"
            raise ConfigError(
                f"{called('budget')} {self.plan.budget:g} is too short for one trial: training {name} for "
                f"{self.plan.epochs} epochs on {len(self.proxy.train.targets):,} rows takes about {needed:.1f} minutes "
                f"here; give more, or lower {called('rows')} or {called('epochs')}"
            )

    def _require_limits(self) -> None:
        """Raise ConfigError where not even the smallest network meets the limits."""
        if not self.plan.limits.given:
            return
        _, broken = self.cost(self.space.smallest)
        if broken:
            raise ConfigError(
                f"no network of the space meets the limits; the nearest, {self.space.smallest.words}, has "
                f"{' and '.join(broken)}; raise the limit"
            )

    def _give_up(self) -> None:
        """Say that nothing new is drawn. Raises ConfigError where nothing was ever trained."""
        if self.trained:
            say(f"the last {IN_VAIN} draws were known or refused; the search ends here")
            return
        nearest = min(self.journal.trials, key=lambda one: self.plan.limits.excess(cost_of(one)) or float("inf"))
        network = self.space.network(choices_of(nearest))
        raise ConfigError(
            f"none of {IN_VAIN} networks drawn meets the limits; the nearest, {network.words}, has "
            f"{' and '.join(nearest.user_attrs.get('refused', []))}; raise the limit"
        )

    def _say(self, number: int) -> None:
        trial = self.journal.trials[number]
        known = trial.user_attrs
        size = f"{choices_of(trial)['size']} px, {known['params'] / 1e6:.2f} M parameters"
        if "refused" in known:
            say(f"trial {number}: {size}: refused: {'; '.join(known['refused'])}")
            return
        early = "" if trial.state == TrialState.COMPLETE else f", stopped after epoch {known['epochs']}"
        say(
            f"trial {number}: {size}, step {known['step_ratio']:.2f} of the reference's; accuracy "
            f"{known['accuracy']:.4f}, reward {known['reward']:.4f}{early}"
        )
