"""``plait predict``: labels for rows, or for one picture and its text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.jobs import Address, EngineName, Gpus, On, RangeRows, Workers, cluster_of, is_folder
from plait.cli.opening import open_run, require_image
from plait.cli.options import DATA_HELP, Overwrite, Set, Strict
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.data.pairs import Pairs
    from plait.inference.engine import Engine

OUT_HELP = (
    "File ending in .csv, .jsonl or .parquet; or, for tables of any size, a folder or URL (s3://...) that takes a "
    "Parquet file for each range of rows; default: CSV on standard output."
)


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=DATA_HELP)] = None,
    image: Annotated[str | None, typer.Option(help="One image file, instead of DATA.")] = None,
    text: Annotated[str | None, typer.Option(help="One text, instead of DATA.")] = None,
    out: Annotated[str | None, typer.Option(help=OUT_HELP)] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Also how much each modality moved the answer.")] = False,
    engine: On = EngineName.LOCAL,
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = 0.0,
    range_rows: RangeRows = None,
    overwrite: Overwrite = False,
    set_: Set = None,
    strict: Strict = False,
) -> None:
    """Label rows, or one picture and its text.

    [bold]plait predict run photos.csv --out labels.csv[/bold]
    [bold]plait predict run --image a.jpg --text "miso ramen"[/bold]
    [bold]plait predict run millions.parquet --out labels/[/bold]  range by range; goes on where it was stopped
    [bold]plait predict run millions.parquet --out s3://bucket/labels --engine ray --address auto[/bold]
    """
    one = image is not None or text is not None
    if one == (data is not None):
        raise DataError("give either DATA, or --image and --text for one pair; not both, not neither")
    cluster = cluster_of(engine, address, workers, gpus)
    if data is not None and out is not None and is_folder(out):
        from plait.jobs.run import run_job
        from plait.jobs.work import Work

        run_job(
            Work(str(run), data, "predict", out, tuple(set_ or ()), strict, explain), cluster, range_rows, overwrite
        )
        print(out)
        return
    for flag, given in (("--engine ray", cluster), ("--range-rows", range_rows), ("--overwrite", overwrite)):
        if given:
            raise DataError(f"{flag} is for DATA that is answered range by range; give DATA and --out FOLDER")
    file = None if out is None else Path(out)
    if file is not None:
        from plait.inference.predictions import require_format

        require_format(file)
    if one:
        _require_pair(image, text)
    opened = open_run(run, set_, strict)
    from plait.data.pairs import Pairs

    pairs = Pairs.from_columns([image], [text], source="the pair given") if one else opened.read(data)
    _answer(opened, pairs, file, explain, one)


def _answer(engine: Engine, pairs: Pairs, out: Path | None, explain: bool, one: bool) -> None:
    """Answer all the rows at once, into a file or onto standard output."""
    from plait.features.store import FeatureStore
    from plait.inference import predictions

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
