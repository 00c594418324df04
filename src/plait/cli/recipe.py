"""``plait recipe``: what a dish is, and how it is cooked by a cookbook of one's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.find import require_query
from plait.cli.options import Set

if TYPE_CHECKING:
    from plait.pipeline.recipe import Answer, Threshold


def recipe(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run that tells dishes.")],
    cookbook: Annotated[str, typer.Option(metavar="DATA", help="Recipes: a table with a title (text) each.")],
    image: Annotated[str | None, typer.Option(help="A photo of the dish.")] = None,
    text: Annotated[str | None, typer.Option(help="Its title; with --image both count.")] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="SPACE", help="A joint space (plait tune joint): photos find recipes' words.")
    ] = None,
    ingredients: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of ingredients.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Another column to show and write from; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Recipes to show and write from.")] = 3,
    val: Annotated[
        str | None, typer.Option(metavar="DATA", help="Labelled dishes to fit the threshold by; else the cookbook.")
    ] = None,
    precision: Annotated[
        float, typer.Option(help="Share of matches that are to be of the dish's class; below it: nothing matches.")
    ] = 0.8,
    llm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A local chat model, such as Qwen/Qwen2.5-1.5B-Instruct, writes the answer."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    set_: Set = None,
) -> None:
    """Tell what a dish is, and the recipes of a cookbook most like it; below a fitted similarity, that nothing matches.

    [bold]plait recipe run --image dish.jpg --cookbook recipes.csv --ingredients ingredients --keep steps[/bold]
    """
    require_query(image, text)
    from plait.cli.opening import open_for_index, open_run
    from plait.pipeline.kitchen import Kitchen
    from plait.pipeline.recipe import Columns, Cookbook
    from plait.recipes.chat import load_chat
    from plait.retrieval.space import space_of

    engine = open_run(run, set_, strict=False)
    place = space_of(engine) if space is None else open_for_index(space, set_, strict=False)
    chat = load_chat(llm) if llm is not None else None
    book = Cookbook(engine, place, cookbook, Columns(ingredients, tuple(keep or ())))
    answer = Kitchen(book, precision, val, k, chat).answer(image, text)
    print(json.dumps(_facts(answer), ensure_ascii=False) if as_json else _told(answer))


def _facts(answer: Answer) -> dict[str, Any]:
    matches = [{"id": one.id, "similarity": round(near, 6), **one.fields} for one, near in answer.matches]
    found: dict[str, Any] = {"label": answer.label, "confidence": round(answer.confidence, 6), "fits": answer.fits}
    threshold = answer.threshold
    if threshold is not None and threshold.least < float("inf"):
        found["threshold"] = asdict(threshold)
    return found | {"matches": matches, "written": asdict(answer.written) if answer.written is not None else None}


def _told(answer: Answer) -> str:
    """An answer in words."""
    lines = [f"{answer.label} ({100 * answer.confidence:.1f} %)"]
    threshold = answer.threshold
    if not answer.fits and threshold is not None:
        return "\n".join([*lines, _nothing(answer, threshold)])
    if answer.written is not None:
        lines += ["", answer.written.text, ""]
        doubts = {"cited but not given": answer.written.unknown, "in no recipe cited": answer.written.unfounded}
        lines += [f"{what}: {', '.join(names)}" for what, names in doubts.items() if names]
    for one, near in answer.matches if answer.written is not None else answer.matches[:1]:
        lines += [f"[{one.id}] {one.fields.get('title', '')} ({near:.3f} alike)"]
        lines += [f"  {name}: {value}" for name, value in one.fields.items() if name not in ("title", "dish")]
    others = answer.matches[1:] if answer.written is None else []
    lines += [f"also: [{one.id}] {one.fields.get('title', '')} ({near:.3f})" for one, near in others]
    return "\n".join(lines)


def _nothing(answer: Answer, threshold: Threshold) -> str:
    """That no recipe is alike enough, and why."""
    best, near = answer.matches[0]
    start = f"nothing in the cookbook matches: the nearest, [{best.id}], is {near:.3f} alike, "
    if threshold.least == float("inf"):
        return f"{start}and no similarity was right for {100 * threshold.precision:g} % of {threshold.pairs:,} dishes"
    right = f"{100 * threshold.found:.0f} % of the dishes at or above it were right"
    return f"{start}below {threshold.least:.3f} ({right}, of {threshold.pairs:,})"
