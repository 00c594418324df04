"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from plait.config import Config

DATA_HELP = "CSV, TSV, JSONL or Parquet file, folder, URL or Hugging Face dataset; SOURCE#SPLIT picks one split."
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
Preset = Annotated[str | None, typer.Option(help="A named configuration; see [bold]plait presets[/bold].")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A YAML configuration file.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable image is an error, not a missing image.")]
Val = Annotated[str | None, typer.Option(help="Rows that choose epochs and calibrate; default: held out from DATA.")]
Test = Annotated[
    str | None,
    typer.Option(help="Rows kept apart to test on; default: the source's own test split, else data.test_fraction."),
]
AllowSeen = Annotated[
    bool, typer.Option("--allow-seen", help="Report rows that were seen in training apart, instead of refusing them.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what the output folder holds.")]


def settings_of(preset: str | None, file: Path | None, overrides: list[str] | None, strict: bool) -> Config:
    """The configuration that a command's options ask for; ``quick`` where neither preset nor file is given."""
    from plait.config import configure

    extra = ["data.strict=true"] if strict else []
    return configure(preset or (None if file else "quick"), file, [*(overrides or []), *extra])
