"""``plait predict``: labels for rows, or for one picture and its text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from plait.cli.opening import open_run, require_image
from plait.cli.options import DATA_HELP, Set, Strict
from plait.errors import DataError


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=DATA_HELP)] = None,
    image: Annotated[str | None, typer.Option(help="One image file, instead of DATA.")] = None,
    text: Annotated[str | None, typer.Option(help="One text, instead of DATA.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File ending in .csv, .jsonl or .parquet; default: CSV on standard output.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Also how much each modality moved the answer.")] = False,
    set_: Set = None,
    strict: Strict = False,
) -> None:
    """Label rows, or one picture and its text.

    [bold]plait predict run photos.csv --out labels.csv[/bold]
    [bold]plait predict run --image a.jpg --text "miso ramen"[/bold]
    """
    from plait.inference import answers as predictions

    one = image is not None or text is not None
    if one == (data is not None):
        raise DataError("give either DATA, or --image and --text for one pair; not both, not neither")
    if out is not None:
        predictions.require_format(out)
    if one:
        _require_pair(image, text)
    engine = open_run(run, set_, strict)
    from plait.data.pairs import Pairs
    from plait.features.store import FeatureStore

    pairs = Pairs.from_columns([image], [text], source="the pair given") if one else engine.read(data)
    features = engine.features(pairs, None if one else FeatureStore(engine.config.store))
    effects = engine.effects(features) if explain else None
    answers = predictions.rows(pairs, engine.labels, engine.probabilities(features), effects, engine.captions)
    if out is None:
        sys.stdout.write(predictions.as_text(answers, ".jsonl" if one else ".csv"))
    else:
        predictions.write(answers, out)
        print(out)


def _require_pair(image: str | None, text: str | None) -> None:
    """Raise DataError where one pair has nothing to go by, or an image that cannot be read."""
    if not image and not (text and text.strip()):
        raise DataError("the pair has neither an image nor a text; give --image FILE, --text TEXT or both")
    if image:
        require_image(image)
