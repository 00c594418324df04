"""``plait compare``: image, text, late and early side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.options import AllowSeen, ConfigFile, Data, Overwrite, Preset, Set, Strict, Test, Val, settings_of


def compare(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for compare.json and report.html.")],
    test: Test = None,
    val: Val = None,
    seeds: Annotated[int, typer.Option(help="Trainings, with seed, seed + 1, ...; the spread joins the table.")] = 1,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    strict: Strict = False,
    allow_seen: AllowSeen = False,
    overwrite: Overwrite = False,
) -> None:
    """Train image, text, late and early fusion on the same rows; one table and one report.

    [bold]plait compare train.csv --test test.csv --out comparison[/bold]
    """
    from plait.processes import first_before_others, is_first
    from plait.progress import say
    from plait.report.write import claim, print_table, write_comparison

    settings = settings_of(preset, config, set_, strict)
    given = {"data": data, "val": val, "test": test, "seeds": seeds, "allow_seen": allow_seen}
    with first_before_others() as first:
        words = {"command": "compare", **given, "config": settings.model_dump()}
        inputs = claim(out, words, overwrite) if first else {}
    from plait.pipeline.compare import compare as run

    evaluation = run(data, test, settings, val, seeds, allow_seen)
    say(f"encoded {evaluation.encoded:,} new inputs; the others came from the feature store")
    if is_first():
        print_table(evaluation)
        write_comparison(evaluation, out, inputs)
