"""``plait fit``: one classifier, kept as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.options import ConfigFile, Data, Overwrite, Preset, Set, Strict, Test, Val, settings_of


def fit(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to write: all that predicting needs.")],
    test: Test = None,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    max_ms: Annotated[
        float | None, typer.Option(metavar="N", help="Keep the best model that answers one row within N milliseconds.")
    ] = None,
    max_mb: Annotated[
        float | None, typer.Option(metavar="N", help="Keep the best model of at most N megabytes on disk.")
    ] = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
) -> None:
    """Train one classifier and keep it in a run folder; measure it on the test rows that compare would keep apart.

    [bold]plait fit train.csv --out run --set model=early[/bold]  (image, text, late, early; auto picks the best)
    [bold]plait fit train.csv --out run --max-ms 20[/bold]  (the best that answers a row within 20 ms on this machine)
    [bold]plait fit train.csv --out run --set data.test_fraction=0[/bold]  (train on every row)
    """
    from plait.processes import is_first
    from plait.progress import say, show

    limits = {"max_ms": max_ms, "max_mb": max_mb}
    given = [f"{key}={value}" for key, value in limits.items() if value is not None]
    settings = settings_of(preset, config, [*(set_ or []), *given], strict)
    from plait.files import require_free

    require_free(out, overwrite)
    from plait.data.partition import divide
    from plait.pipeline.classifier import Classifier
    from plait.pipeline.evaluate import measure_apart
    from plait.training.encoders.tuner import learnt_by, modalities_to_fit

    modalities = modalities_to_fit(settings)
    parts = divide(data, settings, val=val, test=test, modalities=modalities, learnt=learnt_by(settings, modalities))
    classifier = Classifier(settings).fit(parts.train, val=parts.val, refit=parts.val_drawn)
    figure = measure_apart(classifier, parts.test) if parts.test is not None else ""
    if is_first():
        classifier.save(out, overwrite)
    known = classifier.metrics_
    size = f"{known['rows']:,} rows, {known['classes']} classes, {known['seconds']:.1f} s"
    cost = f", {known['cost']}" if "cost" in known else ""
    say(f"{classifier.engine_.model} ({known['note']}): {size}{cost}")
    if figure:
        say(figure)
    show(out)
