"""The comparison as a terminal table, and the lines under it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from plait.report.findings import front, repeats_words, unmeasured_words
from plait.report.uncertainty import p_words

if TYPE_CHECKING:
    from rich.table import Table

# key, heading, whether more is better
COLUMNS = (("accuracy", "accuracy %", True), ("top5", "top-5 %", True), ("macro_f1", "macro F1 %", True),
           ("ece", "ECE %", False))  # fmt: skip


def table(scores: dict[str, Any]) -> Table:
    """One row a model from a `summary`: percentages, 95 % interval and spread over seeds, and seconds of training.

    The most accurate model and the best value of each column are bold; rich drops the bold off a terminal.
    """
    from rich.markup import escape
    from rich.table import Table

    models = scores["models"]
    winners = best(models)
    spread = next((model["seeds"]["n"] for model in models.values() if "seeds" in model), 0)
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("model")
    for key, heading, _ in COLUMNS:
        grid.add_column(f"{heading} [95 % CI]" if key == "accuracy" else heading, justify="right")
        if key == "accuracy" and spread:
            grid.add_column(f"{spread} seeds, std", justify="right")
    grid.add_column("fit s", justify="right")
    for name, model in models.items():
        cells = [bold(f"{100 * model[key]:.2f}", name in winners[key]) for key, *_ in COLUMNS]
        low, high = model["interval"]
        cells[0] += f" [{100 * low:.1f}, {100 * high:.1f}]"
        if spread:
            seeds = model["seeds"]
            cells.insert(1, f"{100 * seeds['mean']:.2f} ± {100 * seeds['std']:.2f}")
        grid.add_row(bold(escape(name), name in winners["accuracy"]), *cells, f"{model['fit_seconds']:.1f}")
    return grid


def cost_table(scores: dict[str, Any]) -> Table | None:
    """What each model costs, and whether it is on the front of accuracy against time; None: nothing is known."""
    from rich.markup import escape
    from rich.table import Table

    known = {name: model for name, model in scores["models"].items() if "cost" in model}
    if not known:
        return None
    costs = [model["cost"] for model in known.values()]
    best = front([cost["milliseconds"] for cost in costs], [model["accuracy"] for model in known.values()])
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("cost")
    for heading in ("parameters", "MB on disk", "ms a row", "rows/s", "training s"):
        grid.add_column(heading, justify="right")
    for number, (name, cost) in enumerate(zip(known, costs, strict=True)):
        grid.add_row(
            bold(escape(name), number in best), count(cost["parameters"]), figures(cost["megabytes"]),
            figures(cost["milliseconds"]), figures(cost["rows_per_second"]), f"{cost['training_seconds']:.1f}",
        )  # fmt: skip
    return grid


def count(number: int) -> str:
    """23310546 -> ``23.3 M``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{figures(number / size)} {unit}"
    return str(number)


def figures(value: float) -> str:
    """Three figures, no exponent: ``0.0123``, ``4.57``, ``92.8``, ``156``, ``12,345``."""
    if value >= 100:
        return f"{value:,.0f}"
    decimals = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{min(decimals, 4)}f}"


def notes(scores: dict[str, Any]) -> list[str]:
    """The lines under the table: what fusion gains, repeated rows, rows that were seen. Plain text."""
    lines = []
    rows, models = scores["rows"]["test"], scores["models"]
    seen = scores.get("seen")
    if seen and seen["rows"] == rows:
        lines.append(
            f"WARNING: an encoder or the run has SEEN all {rows:,} test rows in training: "
            "these figures do not tell how good the models are on new rows"
        )
    if fusion := scores.get("fusion"):
        low, high = (100 * end for end in fusion["interval"])
        gain = f"{100 * fusion['difference']:+.2f} points [{low:.1f}, {high:.1f}], McNemar {p_words(fusion['p'])}"
        lines.append(f"{fusion['model']} over {fusion['baseline']}: {gain}")
    if "repeated" in scores:
        lines.append(_repeats(scores))
    if seen and seen["rows"] < rows:
        lines.append(
            f"the table is of the {seen['scored']:,} unseen test rows; on {seen['rows']:,} rows that an encoder or the "
            f"run has seen: {_accuracies(models, 'seen')}"
        )
    if scores.get("unmeasured"):
        lines.append(unmeasured_words(scores["unmeasured"]))
    return lines


def _repeats(scores: dict[str, Any]) -> str:
    words, models = repeats_words(scores), scores["models"]
    if not scores["repeated"]["any"]:
        return words
    others = next(iter(models.values()))["fresh"]["rows"]
    return f"{words}; on the other {others:,}: {_accuracies(models, 'fresh')}" if others else f"{words}; none is new"


def _accuracies(models: dict[str, Any], part: str) -> str:
    return ", ".join(f"{name} {100 * scores[part]['accuracy']:.1f}" for name, scores in models.items())


def best(models: dict[str, dict[str, float]]) -> dict[str, list[str]]:
    """The names that hold the best value of each metric; none where there is nothing to beat."""
    winners = {}
    for key, _, more in COLUMNS:
        values = [scores[key] for scores in models.values()]
        top = max(values) if more else min(values)
        winners[key] = [name for name, scores in models.items() if scores[key] == top and min(values) < max(values)]
    return winners


def bold(text: str, on: bool) -> str:
    return f"[bold]{text}[/bold]" if on else text
