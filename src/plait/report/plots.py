"""Charts as inline SVG that takes its colours and font from the page, so dark mode and print just work."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.report.confusion import short
from plait.report.findings import front, right
from plait.report.metrics import calibration_error, reliability
from plait.report.results import Evaluation, ModelResult
from plait.report.uncertainty import accuracy_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-in colours that `to_svg` replaces by CSS variables of the page.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006")
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", **{c: f"--s{i + 1}" for i, c in enumerate(SERIES)}}
MARKERS = "osD^vP"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "plait", "font.size": 9, "text.parse_math": False}


def curves_svg(name: str, model: ModelResult) -> str:
    """One model's training: losses above, validation accuracy (percent) below; only the curves that it has."""
    losses = [key for key in ("train_loss", "val_loss") if has(model, key)]
    panels = [losses] * bool(losses) + [["val_accuracy"]] * has(model, "val_accuracy")
    with chart(4.3, 1.0 + 1.25 * len(panels)) as figure:
        grid: Any = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
        for axes, keys in zip(grid[:, 0], panels, strict=True):
            for key in keys:
                draw_curve(axes, model, key)
            tidy(axes)
        grid[-1, 0].set_xlabel("epoch", color=MUTED)
        grid[-1, 0].xaxis.get_major_locator().set_params(integer=True)
        figure.align_ylabels()
        return to_svg(figure, f"Learning curves of {name}")


def draw_curve(axes: Axes, model: ModelResult, key: str) -> None:
    known = [(row.get("epoch", i), row[key]) for i, row in enumerate(model.curves) if key in row]
    points = np.array(known, dtype=float)
    accuracy = key == "val_accuracy"
    color, marker, dashes, word = {
        "train_loss": (SERIES[0], "o", "--", "train"),
        "val_loss": (SERIES[1], "s", "-", "validation"),
        "val_accuracy": (SERIES[2], "D", "-", ""),
    }[key]
    y = points[:, 1] * (100 if accuracy else 1)
    axes.plot(points[:, 0], y, dashes, color=color, marker=marker, markersize=3, label=word)
    axes.set_ylabel("val. accuracy %" if accuracy else "loss", color=MUTED)
    if not accuracy:
        axes.legend(frameon=False, labelcolor=INK, loc="upper right")


def calibration_svg(evaluation: Evaluation) -> str:
    """Reliability diagram of all models in 15 bins: accuracy over confidence, marker area by rows, ECE in the legend.

    A perfectly calibrated model lies on the diagonal (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
    """
    with chart(5.2, 4.9) as figure:
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=":")
        handles, words = [], []
        for i, (name, model) in enumerate(evaluation.models.items()):
            color, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
            rows, confidence, accuracy = reliability(model.probabilities, evaluation.targets).T
            kept = rows > 0
            x, y = 100 * confidence[kept], 100 * accuracy[kept]
            axes.plot(x, y, color=color, linewidth=1.4)
            area = 10 + 110 * rows[kept] / rows.max()
            axes.scatter(x, y, area, color=color, marker=marker, alpha=0.75, linewidths=0)
            handles.append(axes.scatter([], [], 34, color=color, marker=marker))
            error = calibration_error(model.probabilities, evaluation.targets)
            words.append(f"{short(name, 24)}  ECE {100 * error:.1f} %")
        axes.set(xlim=(0, 102), ylim=(0, 102), aspect="equal")
        axes.set_xlabel("confidence %", color=MUTED)
        axes.set_ylabel("accuracy %", color=MUTED)
        axes.legend(handles, words, frameon=False, labelcolor=INK, loc="best")
        tidy(axes)
        return to_svg(figure, "Reliability diagram: accuracy over confidence of each model")


def cost_svg(evaluation: Evaluation, measure: str, words: str) -> str:
    """Accuracy, with its 95 % interval, over the logarithm of a cost, and the Pareto front of both drawn.

    Models that another one beats in both are hollow; those whose cost is not known are left out.

    Args:
        measure: an attribute of `Cost`. words: what to call it.
    """
    models = list(evaluation.models.items())
    known = {i: getattr(model.cost, measure) for i, (_, model) in enumerate(models) if model.cost is not None}
    with chart(5.0, 3.5) as figure:
        axes = figure.subplots()
        handles = _draw_costs(axes, [right(evaluation, models[i][0]) for i in known], known)
        axes.set_xlabel(words, color=MUTED)
        axes.set_ylabel("accuracy %", color=MUTED)
        names = [short(models[i][0], 24) for i in known]
        figure.legend(
            handles, names, frameon=False, labelcolor=INK, loc="outside lower center", ncols=4, columnspacing=1.4,
            handletextpad=0.2,
        )  # fmt: skip
        return to_svg(figure, f"Accuracy over {words} of each model, with the Pareto front")


def _draw_costs(axes: Axes, correct: list[np.ndarray], known: dict[int, float]) -> list[Any]:
    """Models by their number and cost, and which rows each has right; returns a handle of each for the legend."""
    costs, shares = list(known.values()), [float(rows.mean()) for rows in correct]
    best = front(costs, shares)
    low, high = min(costs) / 1.7, max(costs) * 1.7
    path = [*((costs[i], 100 * shares[i]) for i in best), (high, 100 * max(shares))]
    axes.step(*zip(*path, strict=True), where="post", color=MUTED, linewidth=1.2, linestyle="--")
    handles = []
    for place, (number, cost) in enumerate(known.items()):
        color, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
        axes.plot([cost] * 2, [100 * end for end in accuracy_interval(correct[place])], color=color, linewidth=1.4)
        inside = color if place in best else "none"
        axes.scatter([cost], [100 * shares[place]], 56, marker=marker, facecolors=inside, edgecolors=color, zorder=3)
        handles.append(axes.scatter([], [], 34, color=color, marker=marker))
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    _plain_log_ticks(axes, low, high)
    tidy(axes)
    return handles


def _plain_log_ticks(axes: Axes, low: float, high: float) -> None:
    """Ticks at 1, 2 and 5 of each power of ten, in plain numbers."""
    from matplotlib.ticker import NullLocator

    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 200 else (1,)
    ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def has(model: ModelResult, key: str) -> bool:
    """Whether any epoch recorded `key`."""
    return any(key in row for row in model.curves)


@contextmanager
def chart(width: float, height: float) -> Iterator[Figure]:
    """A figure of the given inches, outside pyplot's global list, under plait's drawing style."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Axes) -> None:
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0)
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_visible(False)


def to_svg(figure: Figure, title: str) -> str:
    """The figure as one `<svg>` element to put into a page: no header, no ids that could clash, CSS colours."""
    import warnings
    from html import escape

    figure.patch.set_alpha(0)
    buffer = io.StringIO()
    with warnings.catch_warnings():  # a script that matplotlib's font lacks is drawn by the page's font
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1).replace("\n", " ")
