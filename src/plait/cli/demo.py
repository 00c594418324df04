"""``plait demo``: four models on a drawn sample set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the sample set.")] = Path("plait-demo"),
) -> None:
    """Draw a sample set, compare four models on it, write a report. Needs no data and, with plait[offline], no network.

    Encoders are pretrained on real pictures and texts; the sample is drawn, and so a demonstration, not a benchmark.
    """
    from plait.config import configure
    from plait.data.sample import draw
    from plait.pipeline.compare import compare as run
    from plait.progress import say
    from plait.report.write import claim, print_table, write_comparison, write_pairs

    config = configure("demo")
    inputs = claim(out, {"command": "demo"})
    say("drawing 2,000 pairs of 16 dishes: a demonstration, not a benchmark ...")
    pairs = draw()
    say("encoding them by pretrained EfficientNet-Lite0 and MiniLM, then training the four models ...")
    evaluation = run(pairs, config=config)
    print_table(evaluation)
    write_comparison(evaluation, out, inputs)
    write_pairs(pairs, out / "sample.parquet")
