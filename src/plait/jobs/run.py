"""A job from start to end: which ranges are left, who does them, and whether every row is there once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from plait.data.pairs import Pairs
from plait.data.unreadable import Tally
from plait.errors import RunError, and_more
from plait.jobs.folder import RANGE_ROWS, JobFolder, Range, missing, ranges
from plait.jobs.on_ray import Cluster, on_ray
from plait.jobs.work import Done, Work, Worker
from plait.progress import bar, say

SAMPLE = 64  # rows whose images are looked at before any work is done


@dataclass(frozen=True)
class Summary:
    """What a job did.

    Attributes:
        rows: how many rows the data has. skipped: rows of ranges that were there before.
        problems: how many rows could not be read or answered, in the ranges done now.
    """

    rows: int
    skipped: int
    problems: int


def run_job(
    work: Work, cluster: Cluster | None = None, range_rows: int | None = None, overwrite: bool = False
) -> Summary:  # fmt: skip
    """Do a job: all of it, or what an earlier one of the same run, data and folder has left.

    Args:
        cluster: where Ray's workers are; None: in this process.
        range_rows: how many rows a file holds and a kill can lose; None: those of the job that is there, else
            `RANGE_ROWS`.
        overwrite: replace the job that the folder holds.

    Raises:
        RunError: the folder holds something else or cannot be written; a worker fails; rows are missing at the end.
        DataError: as `plait.read`, and where most images of a sample cannot be read.
    """
    worker = Worker(work)
    pairs, fingerprint = worker.pairs, worker.engine.fingerprint
    folder = None if work.out is None else JobFolder(work.out)
    if folder is None:
        size, done = range_rows or RANGE_ROWS, list[Range]()
    else:
        known = {"what": work.what, "run": fingerprint, "rows": len(pairs), "data": digest_of(pairs, work.overrides)}
        held = folder.claim({**known, "explain": work.explain, "range_rows": range_rows}, overwrite)
        size = int(held["range_rows"])
        done = folder.done(fingerprint)
    whole = ranges(len(pairs), size)
    left = list(missing(whole, done))
    skipped = len(pairs) - sum(map(len, left))
    if skipped:
        say(f"{folder}: {skipped:,} of {len(pairs):,} rows are there already")
    if left and "image" in worker.engine.modalities:
        _look(pairs, work.strict)
    problems = _follow(on_ray(work, left, cluster) if cluster else map(worker.do, left), work.what, left)
    if folder is not None:
        check(folder, whole, pairs, fingerprint)
    return Summary(len(pairs), skipped, problems)


def digest_of(pairs: Pairs, overrides: tuple[str, ...]) -> str:
    """16 hex digits of the ids and texts of every row, and of how they are read."""
    found = hashlib.blake2b("\n".join(one for one in overrides if one.startswith("data.")).encode(), digest_size=8)
    for batch in pairs.table.select_columns(["id", "text"]).iter(1000):
        found.update("\x00".join(text or "" for column in batch.values() for text in column).encode())
    return found.hexdigest()


def _look(pairs: Pairs, strict: bool) -> None:
    """Raise DataError, before any work is done, where most images of some rows cannot be opened."""
    rows = np.unique(np.linspace(0, len(pairs) - 1, min(SAMPLE, len(pairs))).astype(np.int64))
    Tally(strict).look(pairs.select(rows))


def _follow(found: Iterable[Done], what: str, left: list[Range]) -> int:
    """Wait for the ranges, and tell at the end which rows had problems; how many there were."""
    problems: list[str] = []
    number = 0
    with bar(what, sum(map(len, left))) as advance:
        for done in found:
            number += len(done.problems)
            problems += done.problems[: 3 - len(problems)]
            advance(len(done.part))
    if number:
        more = f" and {number - len(problems):,} more" if number > len(problems) else ""
        say(f"warning: {number:,} rows had problems, see their column 'problem': {', '.join(problems)}{more}")
    return number


def check(folder: JobFolder, whole: list[Range], pairs: Pairs, fingerprint: str) -> None:
    """Read back the ids of every range. Raises RunError where a row is missing, twice, or in another place."""
    if gone := list(missing(whole, folder.done(fingerprint))):
        names = and_more([f"{part.start:,}-{part.stop:,}" for part in gone])
        raise RunError(f"{folder}: ranges {names} are missing; run the command again")
    for part in whole:
        ids = folder.read(part, fingerprint, ["id"])["id"].to_pylist()
        if ids != list(pairs.table[part.start : part.stop]["id"]):
            raise RunError(
                f"{folder}: the file of rows {part.start:,}-{part.stop:,} holds others; "
                "delete it and run the command again"
            )
