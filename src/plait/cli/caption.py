"""``plait caption``: texts for images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.options import Data, Set, Strict


def caption(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="What `plait tune caption` wrote, or a GIT or BLIP by its name.")
    ],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File ending in .csv, .jsonl or .parquet.")],
    set_: Set = None,
    strict: Strict = False,
) -> None:
    """Write a caption for each image: columns id, caption, and the row's own text beside it.

    [bold]plait caption captioner photos.csv --out captions.csv[/bold]
    """
    from plait.captions.folder import load_captioner
    from plait.config import configure
    from plait.data.read import read_as
    from plait.devices import pick_device
    from plait.inference.predictions import require_format, write
    from plait.pipeline.captions import captioned

    require_format(out)
    config = configure(overrides=set_ or [])
    captioner = load_captioner(model, pick_device(config.device))
    write(captioned(captioner, read_as(data, config), strict), out)
    print(out)
