"""``plait export``: a run for production, without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.options import Overwrite
from plait.errors import DataError


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the graphs and what belongs to them.")],
    int8: Annotated[bool, typer.Option("--int8", help="8-bit integers; needs --data.")] = False,
    data: Annotated[
        str | None, typer.Option(help="Labelled rows, not those of the test: accuracy and speed are measured on them.")
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="Points of accuracy that 8-bit integers may cost; more, and nothing is written.")
    ] = 0.5,
    overwrite: Overwrite = False,
) -> None:
    """Write a run as ONNX graphs that predict with ONNX Runtime, NumPy and Pillow alone.

    [bold]plait export run --out exported[/bold]
    [bold]plait export run --out small --int8 --data val.csv[/bold]
    [bold]plait predict exported photos.csv[/bold]
    """
    if int8 and data is None:
        raise DataError("--int8 needs labelled rows to calibrate and measure on; give --data DATA")
    from plait.files import require_free

    require_free(out, overwrite)
    from plait.export.write import export as run_export
    from plait.runs.open import load

    engine = load(run, "cpu")
    engine.without_captions("an exported run")
    measured = run_export(engine, out, data, max_drop if int8 else None, overwrite)
    sizes = {"run": _megabytes(run), "export": _megabytes(out)}
    for name, one in measured.items():
        speed = one.rows_a_second
        print(f"{name:<8}{100 * one.accuracy:8.2f} % accuracy{speed:10,.0f} rows/s{sizes[name]:8.1f} MB")
    if measured:
        print(f"drop    {100 * (measured['run'].accuracy - measured['export'].accuracy):8.2f} points")
    print(out)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
