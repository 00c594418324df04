"""What is known of the trials of a search: states, costs, and what ``search.json`` says."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from plait import __version__
from plait.search.measure import params_of
from plait.search.report import write_report
from plait.search.reward import Cost, front
from plait.search.study import choices_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from plait.data.partition import Partition
    from plait.search.trials import Trials

FOUND, REPORT = "search.json", "report.html"
Facts = dict[str, Any]


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


def facts_of(trial: FrozenTrial) -> dict[str, Any]:
    """What `search.json` says of a trial."""
    known = trial.user_attrs
    keys = ("name", "blocks", "params", "step_ms", "step_ratio", "ms", "accuracy", "reward", "epochs", "seconds")
    found = {key: known[key] for key in keys if known.get(key) is not None}
    extra = {"reasons": known["refused"]} if "refused" in known else {}
    extra |= {"same_as": known["same_as"]} if "same_as" in known else {}
    return {"number": trial.number, "state": state_of(trial), **found, **extra, "choices": choices_of(trial)}


def describe(trials: Trials, parts: Partition) -> Facts:
    """What ``search.json`` says before the final training."""
    found, proxy = trials.journal.trials, trials.proxy
    best, told = best_of(found), [facts_of(trial) for trial in found]
    _mark_front(told)
    rows = {
        "train": len(parts.train), "val": len(parts.val),
        "proxy_train": len(proxy.train.targets), "proxy_val": len(proxy.val.targets),
    }  # fmt: skip
    return {
        "plait": __version__,
        "source": parts.train.source,
        "rows": rows,
        "classes": proxy.classes,
        "reference": _reference(trials),
        "plan": plain(asdict(trials.plan)),
        "space": plain(trials.space.choices),
        "trials": plain(told),
        "best": best.number if best is not None else None,
    }


def write(facts: Facts, folder: Path) -> None:
    """``search.json`` and ``report.html``, whole at every moment."""
    part = folder / f".{FOUND}.{os.getpid()}.part"
    part.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    part.replace(folder / FOUND)
    write_report(facts, folder / REPORT)


def read(folder: Path) -> Facts:
    """What a folder's ``search.json`` says; nothing where it has none."""
    try:
        found = json.loads((folder / FOUND).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def plain(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))


def _reference(trials: Trials) -> Facts:
    """The reference network, and its own trial where it is a point of the space."""
    point, name = trials.reference_point, trials.plan.reference
    choices = point.choices if point is not None else None
    own = [one for one in trials.journal.trials if choices and choices_of(one) == choices]
    number = next((one.number for one in own if state_of(one) == "trained"), None)
    facts = {"name": name, "size": trials.space.sizes[-1], "params": params_of(trials.reference)}
    return facts | {"trial": number, "choices": choices}


def _mark_front(told: list[dict[str, Any]]) -> None:
    """Say of every trained trial whether none beats it in accuracy, step time and parameters together."""
    trained = [one for one in told if one["state"] == "trained"]
    columns = [[one[key] for one in trained] for key in ("accuracy", "step_ratio", "params")]
    for one, on in zip(trained, front(*columns) if trained else [], strict=True):
        one["front"] = bool(on)
