"""The evaluation as one HTML file that opens anywhere, with nothing to fetch."""

from __future__ import annotations

import base64
import hashlib
import math
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import PlaitError
from plait.files import replacing
from plait.report import confusion, examples, findings, plots, table
from plait.report.results import Evaluation
from plait.report.summary import summary

if TYPE_CHECKING:
    from jinja2 import Environment

GAINS_SHOWN = 20
TEXT_LETTERS = 260
MEASURES = (("milliseconds", "milliseconds a row"), ("megabytes", "megabytes on disk"))  # that accuracy is drawn over


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write the report of an evaluation to `path`: one file, pictures and scripts inside, whole or not at all.

    Raises DataError where there are no rows, PlaitError where the file cannot be written.
    """
    write_page(render(evaluation), path)


def write_page(html: str, path: Path) -> None:
    """Write a page whole or not at all. Raises PlaitError where the file cannot be written."""
    try:
        with replacing(path) as draft:
            draft.write_text(html, encoding="utf-8", errors="replace")
    except OSError as error:
        raise PlaitError(
            f"cannot write the report to {path}: {error.strerror or error}; choose another place"
        ) from error


def render(evaluation: Evaluation) -> str:
    """The report as HTML text. Every title, label and name in it is escaped, and its script is the only one allowed."""
    scores, evaluation = summary(evaluation), evaluation.scored
    script = asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .from_string(asset("template.html.j2"))
        .render(
            css=asset("report.css"),
            script=script,
            script_hash=digest,
            **headline(evaluation, scores),
            **costs(evaluation, scores),
            **charts(evaluation),
            **class_tables(evaluation),
            **pictures(evaluation),
        )
    )


def headline(evaluation: Evaluation, scores: dict[str, Any]) -> dict[str, Any]:
    """What the reader sees first: verdict, table, counts, times and warnings."""
    lead, detail = findings.verdict(evaluation)
    return {
        "source": evaluation.pairs.source,
        "lead": lead,
        "detail": detail,
        "scores": scores,
        "columns": table.COLUMNS,
        "winners": table.best(scores["models"]),
        **certainty(scores),
        "notes": {name: model.note for name, model in evaluation.models.items()},
        "seconds": {stage.replace("_", " "): value for stage, value in evaluation.seconds.items()},
        "warnings": evaluation.warnings,
        "part": findings.roles(evaluation),
    }


def certainty(scores: dict[str, Any]) -> dict[str, Any]:
    """What the table says beside the figures: the spread over seeds, repeated rows, and rows that were seen."""
    first = next(iter(scores["models"].values()))
    return {
        "spread": first.get("seeds", {}).get("n", 0),
        "repeats": findings.repeats_words(scores) if "repeated" in scores else "",
        "fresh": first["fresh"]["rows"] if scores.get("repeated", {}).get("any") else 0,
        "seen": scores.get("seen", {}).get("rows", 0),
    }


def costs(evaluation: Evaluation, scores: dict[str, Any]) -> dict[str, Any]:
    """What each model costs, those on the front of accuracy against milliseconds, and the plot of both."""
    known = {name: model["cost"] for name, model in scores["models"].items() if "cost" in model}
    accuracy = [scores["models"][name]["accuracy"] for name in known]
    best = findings.front([cost["milliseconds"] for cost in known.values()], accuracy)
    unmeasured = evaluation.unmeasured
    return {
        "costs": known,
        "cost_plots": [plots.cost_svg(evaluation, *measure) for measure in MEASURES] if known else [],
        "front": [list(known)[i] for i in best],
        "unmeasured": findings.unmeasured_words(unmeasured) if unmeasured else "",
        "earlier": any(cost["encoding"] == "earlier" for cost in known.values()),
    }


def charts(evaluation: Evaluation) -> dict[str, Any]:
    """Learning curves, calibration and the best model's confusion matrix."""
    k, best = len(evaluation.labels), findings.roles(evaluation).best
    counts = confusion.confusion_matrix(evaluation.models[best].answers, evaluation.targets, k)
    heat = confusion.heat_map(counts, evaluation.labels)
    curves = {
        name: plots.curves_svg(name, model)
        for name, model in evaluation.models.items()
        if any(plots.has(model, key) for key in ("train_loss", "val_loss", "val_accuracy"))
    }
    return {
        "curves": curves,
        "calibration": plots.calibration_svg(evaluation),
        "overconfidence": {name: findings.overconfidence(evaluation, name) for name in evaluation.models},
        "heat": heat,
        "levels": [round(100 * level) for level in confusion.LEVELS],
        "confusions": confusion.top_confusions(counts, evaluation.labels),
    }


def class_tables(evaluation: Evaluation) -> dict[str, Any]:
    """Classes that fusion helped most and hurt most; with one model, its best and its worst classes."""
    gains = findings.class_gains(evaluation)
    if findings.roles(evaluation).baseline is None:
        half = min(GAINS_SHOWN, math.ceil(len(gains) / 2))
        return {"gains": gains, "up": gains[:half], "down": gains[half:][::-1][:half]}
    up = [item for item in gains if item.gain > 0]
    down = [item for item in gains if item.gain < 0][::-1]
    return {"gains": gains, "up": up[:GAINS_SHOWN], "down": down[:GAINS_SHOWN], "raised": len(up), "lowered": len(down)}


def pictures(evaluation: Evaluation) -> dict[str, Any]:
    """The two groups of example rows."""
    return {
        "mended": examples.examples(evaluation, examples.mended(evaluation)),
        "broken": examples.examples(evaluation, examples.broken(evaluation)),
    }


def asset(name: str) -> str:
    return files("plait.report").joinpath(name).read_text("utf-8")


def environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(
        percent=percent,
        ends=ends,
        points=points,
        sure=sure,
        clip=clip,
        duration=duration,
        count=table.count,
        figures=table.figures,
    )
    return made


def percent(share: float, digits: int = 1) -> str:
    """0.8685 → ``86.9 %``, with a space that does not break."""
    return f"{100 * share:.{digits}f}\u00a0%"


def ends(interval: list[float]) -> str:
    """[0.872, 0.9] → ``87.2–90.0``."""
    low, high = interval
    return f"{100 * low:.1f}–{100 * high:.1f}"


def points(share: float) -> str:
    """0.051 → ``+5.1``, -0.02 → ``−2.0`` with a true minus sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def sure(confidence: float) -> str:
    """A confidence without decimals that says neither 100 % nor 0 % unless it is."""
    if 0.995 <= confidence < 1:
        return ">99\u00a0%"
    return "<1\u00a0%" if 0 < confidence < 0.005 else percent(confidence, 0)


def clip(text: str, letters: int = TEXT_LETTERS) -> str:
    return confusion.short(text, letters)


def duration(seconds: float) -> str:
    """Seconds for people: ``0.4 s``, ``31 s``, ``2 min 05 s``."""
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    if seconds < 60:
        return f"{seconds:.0f}\u00a0s"
    return f"{int(seconds) // 60}\u00a0min {int(seconds) % 60:02d}\u00a0s"
