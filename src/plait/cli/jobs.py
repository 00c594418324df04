"""``plait encode``, and the options that ``plait predict`` shares with it: tables of any size, range by range."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.options import DATA_HELP, Overwrite, Set, Strict
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.jobs.on_ray import Cluster


class EngineName(StrEnum):
    """Where a job's workers are."""

    LOCAL = "local"
    RAY = "ray"


On = Annotated[
    EngineName, typer.Option("--engine", help="Where rows are answered: in this process, or by workers of Ray's.")
]
Address = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of a Ray cluster's head, or auto; default: Ray is started on this machine."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Ray's processes; default: one for each GPU with --gpus, else one a node.")
]
Gpus = Annotated[float, typer.Option(min=0, help="GPUs for each of Ray's workers; a fraction lets several share one.")]
RangeRows = Annotated[
    int | None, typer.Option(min=1, help="Rows in a file of an output folder: what one kill can lose; default: 4096.")
]


def encode(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    out: Annotated[
        str | None,
        typer.Option(help="Folder or URL (s3://...) for Parquet files of features; default: the feature store."),
    ] = None,
    engine: On = EngineName.LOCAL,
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = 0.0,
    range_rows: RangeRows = None,
    overwrite: Overwrite = False,
    set_: Set = None,
    strict: Strict = False,
) -> None:
    """Encode rows by a run's encoders, range by range.

    A command that was stopped goes on where it was.

    [bold]plait encode run photos.parquet[/bold]  into the feature store, where fit and compare find them
    [bold]plait encode run photos.parquet --engine ray --out s3://bucket/features[/bold]
    """
    from plait.jobs.run import run_job
    from plait.jobs.work import Work

    cluster = cluster_of(engine, address, workers, gpus)
    work = Work(str(run), data, "encode", out, tuple(set_ or ()), strict)
    run_job(work, cluster, range_rows, overwrite)
    print(out or "all in the feature store")


def is_folder(out: str) -> bool:
    """Whether an output is a folder or a URL, and no file: by an ending or what is there."""
    return "://" in out or out.endswith(("/", "\\")) or not Path(out).suffix or Path(out).is_dir()


def cluster_of(engine: EngineName, address: str | None, workers: int | None, gpus: float) -> Cluster | None:
    """The cluster that options ask for. Raises DataError for options of Ray's without it."""
    if engine == EngineName.RAY:
        from plait.jobs.on_ray import Cluster

        return Cluster(address, workers, gpus)
    for flag, given in (("--address", address), ("--workers", workers), ("--gpus", gpus)):
        if given:
            raise DataError(f"{flag} is for Ray's workers; add --engine ray")
    return None
