"""The report of a search: front, reward over trials, and the choices of the best beside the reference."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from plait.report.html import asset, environment, write_page
from plait.report.plots import INK, MUTED, SERIES, chart, tidy, to_svg
from plait.search.words import choices_beside, tally, verdict

Facts = dict[str, Any]


def write_report(facts: Facts, path: Path) -> None:
    """Write the report of what ``search.json`` says as one HTML file. Raises PlaitError where it cannot be written."""
    write_page(render(facts), path)


def render(facts: Facts) -> str:
    """The report as HTML text."""
    lead, detail = verdict(facts)
    best = facts["trials"][facts["best"]]
    template = files("plait.search").joinpath("search.html.j2").read_text("utf-8")
    return (
        environment()
        .from_string(template)
        .render(
            css=asset("report.css"),
            facts=facts,
            lead=lead,
            detail=detail,
            best=best,
            counts=tally(facts),
            choices=choices_beside(best, facts["reference"]),
            charts=[
                front_svg(facts, "step_ratio", f"training step, of {facts['reference']['name']}'s"),
                front_svg(facts, "params", "parameters, millions"),
            ],
            rewards=rewards_svg(facts),
        )
    )


def front_svg(facts: Facts, key: str, words: str) -> str:
    """Accuracy over a cost, of every network trained to the end; those that none beats are joined."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    scale = 1e-6 if key == "params" else 1.0
    with chart(4.6, 3.4) as figure:
        axes = figure.subplots()
        trained = [one for one in facts["trials"] if one["state"] == "trained"]
        points = np.array([(scale * one[key], 100 * one["accuracy"]) for one in trained])
        axes.scatter(points[:, 0], points[:, 1], 22, color=SERIES[5], linewidths=0, label="trained to the end")
        line = points[np.lexsort((-points[:, 1], points[:, 0]))]
        line = line[line[:, 1] > np.concatenate([[-1.0], np.maximum.accumulate(line[:, 1])[:-1]])]
        axes.plot(*line.T, color=SERIES[1], marker="o", markersize=4, label="front")
        marked = {"best": (facts["best"], SERIES[0], "D"), "reference": (facts["reference"]["trial"], SERIES[3], "s")}
        for name, (number, color, marker) in marked.items():
            if number is not None:
                one = facts["trials"][number]
                axes.scatter(
                    scale * one[key], 100 * one["accuracy"], s=60, color=color, marker=marker, label=name, zorder=3
                )
        axes.set_xlabel(words, color=MUTED)
        axes.set_ylabel("accuracy %", color=MUTED)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False, labelcolor=INK, loc="best")
        tidy(axes)
        return to_svg(figure, f"Accuracy over {words}")


def rewards_svg(facts: Facts) -> str:
    """Rewards in order of the trials, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    with chart(9.4, 3.0) as figure:
        axes = figure.subplots()
        kinds = {"trained": (SERIES[1], "o"), "stopped": (SERIES[5], "v")}
        for state, (color, marker) in kinds.items():
            some = np.array([(one["number"], one["reward"]) for one in facts["trials"] if one["state"] == state])
            if len(some):
                words = "trained to the end" if state == "trained" else "stopped early"
                axes.scatter(some[:, 0], some[:, 1], 22, color=color, marker=marker, linewidths=0, label=words)
        ended = np.array([(one["number"], one["reward"]) for one in facts["trials"] if one["state"] == "trained"])
        axes.step(ended[:, 0], np.maximum.accumulate(ended[:, 1]), where="post", color=SERIES[0], label="best so far")
        axes.set_xlabel("trial", color=MUTED)
        axes.set_ylabel("reward", color=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, labelcolor=INK, loc="best")
        tidy(axes)
        return to_svg(figure, "Reward over trials")
