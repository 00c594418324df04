"""The command line: one short function a verb; what a verb needs is imported when it runs."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait import __version__
from plait.cli.app import app_command
from plait.cli.export import export
from plait.cli.options import (
    DATA_HELP,
    AllowSeen,
    ConfigFile,
    Overwrite,
    Preset,
    Set,
    Strict,
    Test,
    Val,
    settings_of,
)
from plait.cli.serve import serve
from plait.cli.tune import tune
from plait.errors import DataError, PlaitError, RunError

if TYPE_CHECKING:
    from plait.inference.engine import Engine
    from plait.report.results import Evaluation

app = typer.Typer(
    name="plait",
    help="Classify things from a picture and its text together.\n\nStart with [bold]plait demo[/bold]; then "
    "[bold]plait compare DATA[/bold] on your own table or folder.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(tune, name="tune")
app.command()(export)
app.command("app")(app_command)
app.command()(serve)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the sample set.")] = Path("plait-demo"),
) -> None:
    """Draw a sample set, compare four models on it, write a report. No data and no network needed."""
    from plait.config import configure
    from plait.data.sample import draw
    from plait.pipeline.compare import compare as run
    from plait.progress import say
    from plait.report.write import claim, print_table, write_comparison, write_pairs

    config = configure("demo")
    inputs = claim(out, {"command": "demo"})
    say("drawing 2,000 pairs of 16 dishes: a demonstration, not a benchmark ...")
    pairs = draw()
    say("training an image network from scratch, then the four models ...")
    evaluation = run(pairs, config=config)
    print_table(evaluation)
    write_comparison(evaluation, out, inputs)
    write_pairs(pairs, out / "sample.parquet")


@app.command()
def compare(
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
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
    from plait.progress import say
    from plait.report.write import claim, print_table, write_comparison

    settings = settings_of(preset, config, set_, strict)
    given = {"data": data, "val": val, "test": test, "seeds": seeds, "allow_seen": allow_seen}
    inputs = claim(out, {"command": "compare", **given, "config": settings.model_dump()}, overwrite)
    from plait.pipeline.compare import compare as run

    evaluation = run(data, test, settings, val, seeds, allow_seen)
    say(f"encoded {evaluation.encoded:,} new inputs; the others came from the feature store")
    print_table(evaluation)
    write_comparison(evaluation, out, inputs)


@app.command()
def fit(
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to write: all that predicting needs.")],
    test: Test = None,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
) -> None:
    """Train one classifier and keep it in a run folder; measure it on the test rows that compare would keep apart.

    [bold]plait fit train.csv --out run --set model=early[/bold]  (image, text, late, early; auto picks the best)
    [bold]plait fit train.csv --out run --set data.test_fraction=0[/bold]  (train on every row)
    """
    from plait.progress import say

    settings = settings_of(preset, config, set_, strict)
    from plait.runs.folder import require_free

    require_free(out, overwrite)
    from plait.data.partition import divide
    from plait.pipeline.classifier import Classifier
    from plait.report.write import measure_apart
    from plait.training.encoders.tuner import learnt_by, modalities_to_fit

    modalities = modalities_to_fit(settings)
    parts = divide(data, settings, val=val, test=test, modalities=modalities, learnt=learnt_by(settings, modalities))
    classifier = Classifier(settings).fit(parts.train, parts.val)
    figure = measure_apart(classifier, parts.test) if parts.test is not None else ""
    classifier.save(out, overwrite)
    known = classifier.metrics_
    size = f"{known['rows']:,} rows, {known['classes']} classes, {known['seconds']:.1f} s"
    say(f"{classifier.spec_.model} ({known['note']}): {size}")
    if figure:
        say(figure)
    print(out)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and report.html.")] = None,
    set_: Set = None,
    strict: Strict = False,
    allow_seen: AllowSeen = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure a run on labelled rows."""
    from plait.report.write import claim, evaluate_run, print_table, write_metrics

    given = {"run": str(run), "data": data, "allow_seen": allow_seen}
    inputs = claim(out, {"command": "evaluate", **given}, overwrite) if out else None
    evaluation: Evaluation = evaluate_run(_load(run, set_, strict), data, allow_seen)
    print_table(evaluation)
    if out is not None and inputs is not None:
        write_metrics(evaluation, out, inputs)


@app.command()
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
    engine = _load(run, set_, strict)
    from plait.data.pairs import Pairs
    from plait.features.store import FeatureStore

    pairs = Pairs.from_columns([image], [text], source="the pair given") if one else engine.read(data)
    features = engine.features(pairs, None if one else FeatureStore(engine.config.store))
    effects = engine.effects(features) if explain else None
    answers = predictions.rows(pairs, engine.labels, engine.probabilities(features), effects)
    if out is None:
        sys.stdout.write(predictions.as_text(answers, ".jsonl" if one else ".csv"))
    else:
        predictions.write(answers, out)
        print(out)


@app.command()
def presets() -> None:
    """List the named configurations: their sources, published accuracies on UPMC Food-101, and what differs."""
    from plait.config import presets as known

    for name, preset in known().items():
        print(f"{name:<20} {preset.line}")
        for word, fact in preset.facts:
            print(f"{'':<20} {word}: {fact}")


@app.command("config")
def showsettings_of(preset: Preset = None, config: ConfigFile = None, set_: Set = None) -> None:
    """Print the configuration a command would use, every key with its value."""
    import yaml

    print(yaml.safe_dump(settings_of(preset, config, set_, strict=False).model_dump(), sort_keys=False), end="")


def _require_pair(image: str | None, text: str | None) -> None:
    """Raise DataError where one pair has nothing to go by, or an image that cannot be read."""
    from plait.data.pairs import ImageRef, open_image

    if not image and not (text and text.strip()):
        raise DataError("the pair has neither an image nor a text; give --image FILE, --text TEXT or both")
    if not image:
        return
    try:
        open_image(ImageRef(path=image).load())
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(f"--image '{image}' cannot be read ({reason}); give another file, or --text alone") from None


def _load(run: Path, overrides: list[str] | None, strict: bool) -> Engine:
    """A run, reading new data with the given overrides and not with the training table's root.

    Columns named in training are taken where the new table has them, as those that were guessed.
    """
    from plait.config import configure
    from plait.inference.engine import Engine

    engine = Engine.open(run)
    values = engine.config.model_dump()
    # As remembered and no longer as named by the user, so that they need not be in the new table.
    engine.metrics = {**engine.metrics, "columns": engine.columns}
    values["data"] |= {"root": None, "strict": strict}
    values["data"] |= {role: None for role in engine.columns if role in values["data"]}
    allowed = ("data.", "store=", "image.batch=", "image.workers=", "text.batch=")
    if fixed := [one for one in overrides or [] if not one.startswith(allowed)]:
        raise RunError(
            f"--set {fixed[0]}: a fitted run cannot be changed; only data.*, store, batch and workers can be set here"
        )
    engine.config = configure(values=values, overrides=overrides or [])
    return engine


def _version(show: bool) -> None:
    if show:
        print(f"plait {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


STOPPED = 130


def main() -> None:
    """Run the command line: exit code 2 and one line on standard error for anything the user can mend."""
    try:
        app()
    except PlaitError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f" of '{error.filename}'" if error.filename else ""
        sys.stderr.write(f"error: no space left on the device{where}; free some (what was encoded so far is kept)\n")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == STOPPED:  # what Typer makes of Ctrl-C
            sys.stderr.write("stopped; what was encoded and trained so far is kept\n")
        raise


if __name__ == "__main__":
    main()
