"""The comparison as a terminal table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plait.report.metrics import summary
from plait.report.results import Evaluation

if TYPE_CHECKING:
    from rich.table import Table

# key, heading, whether more is better
COLUMNS = (("accuracy", "accuracy %", True), ("top5", "top-5 %", True), ("macro_f1", "macro F1 %", True),
           ("ece", "ECE %", False))  # fmt: skip


def table(source: Evaluation | dict[str, Any]) -> Table:
    """One row a model from an evaluation or its `summary`: percentages, and seconds of training.

    The most accurate model and the best value of each column are bold; rich drops the bold off a terminal.
    """
    from rich.markup import escape
    from rich.table import Table

    models = (summary(source) if isinstance(source, Evaluation) else source)["models"]
    winners = best(models)
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("model")
    for _, heading, _ in COLUMNS:
        grid.add_column(heading, justify="right")
    grid.add_column("fit s", justify="right")
    for name, scores in models.items():
        cells = [bold(escape(name), name in winners["accuracy"])]
        cells += [bold(f"{100 * scores[key]:.2f}", name in winners[key]) for key, *_ in COLUMNS]
        grid.add_row(*cells, f"{scores['fit_seconds']:.1f}")
    return grid


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
