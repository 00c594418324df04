"""What is known of the trials of a search: states, costs, and what ``search.json`` says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait import __version__
from plait.files import read_json, write_json
from plait.search.measure import params_of
from plait.search.outcome import best_of, state_of
from plait.search.report import write_report
from plait.search.reward import front
from plait.search.study import choices_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from plait.data.partition import Partition
    from plait.search.trials import Trials

FOUND, REPORT = "search.json", "report.html"
Facts = dict[str, Any]


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
    write_json(folder / FOUND, facts)
    write_report(facts, folder / REPORT)


def read(folder: Path) -> Facts:
    """What a folder's ``search.json`` says; nothing where it has none."""
    found = read_json(folder / FOUND)
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
