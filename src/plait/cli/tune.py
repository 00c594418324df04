"""``plait tune image | text``: encoders trained on the rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.options import DATA_HELP, ConfigFile, Overwrite, Preset, Set, Val, settings_of

if TYPE_CHECKING:
    from plait.config import Config

tune = typer.Typer(
    help="Train an encoder on the rows; the folder it leaves is an image.model or text.model for every other command.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
TunedFolder = Annotated[Path, typer.Option(metavar="MODEL_DIR", help="Folder for the tuned encoder.")]


@tune.command("image")
def tune_image(
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    out: TunedFolder,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a timm model on images and labels by progressive learning; a killed training goes on when repeated.

    [bold]plait tune image train.csv --out tuned --set image.train.epochs=8[/bold]
    [bold]plait compare train.csv --set image.model=local-dir:tuned --out comparison[/bold]
    """
    _tune("image", data, out, val, settings_of(preset, config, set_, strict=False), overwrite)


@tune.command("text")
def tune_text(
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    out: TunedFolder,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a text encoder on texts and labels, or an LSTM over its token vectors.

    [bold]plait tune text train.csv --out tuned --set text.train.tower=lstm --set text.train.layers=frozen[/bold]
    [bold]plait compare train.csv --set text.model=tuned --out comparison[/bold]
    """
    _tune("text", data, out, val, settings_of(preset, config, set_, strict=False), overwrite)


def _tune(strand: str, data: str, out: Path, val: str | None, config: Config, overwrite: bool) -> None:
    from plait.data.read import read_as
    from plait.preparing import Preparation
    from plait.progress import say

    pairs = read_as(data, config.data)
    held = read_as(val, config.data) if val is not None else None
    facts = Preparation(pairs, config, (strand,), held).tuner.tune(strand, out, overwrite)
    best = min(facts["curve"], key=lambda epoch: epoch["val_loss"])
    say(
        f"{strand} encoder: {facts['rows']['train']:,} rows, {len(facts['curve'])} epochs, {facts['seconds']:.0f} s; "
        f"validation accuracy {best['val_accuracy']:.1%} after epoch {best['epoch']:.0f}"
    )
    print(out)
