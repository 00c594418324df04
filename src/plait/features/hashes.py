"""Where content hashes stand in a feature table: sorted runs on disk, searched without being read.

A run covers `RUN` rows of the table: their hashes in order, then the place of each. Rows behind the last whole run are
sorted in memory, so that memory does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from plait.files import replacing

RUN = 1 << 18
KIND = np.dtype("S16")
Read = Callable[[int, int], np.ndarray]  # first row, rows -> their hashes


class Hashes:
    """The hashes of a table.

    Args:
        folder: where the runs are; made when there is a first one.
        read: what reads hashes from the table.
        total: rows of the table.
    """

    def __init__(self, folder: Path, read: Read, total: int):
        self._runs: list[tuple[int, np.ndarray, np.ndarray]] = []
        for first in range(0, total, RUN):
            if first + RUN <= total:
                self._runs.append((first, *_run(folder, read, first)))
            else:
                self._runs.append((first, *_in_order(read(first, total - first))))

    def rows(self, wanted: Sequence[bytes]) -> np.ndarray:
        """(N,) int64: the row of each hash; -1 where the table has none."""
        keys = np.array(wanted, KIND)
        found = np.full(len(keys), -1, np.int64)
        for first, hashes, places in self._runs:
            spot = np.searchsorted(hashes, keys).clip(max=len(hashes) - 1)
            here = np.asarray(hashes[spot]) == keys
            found[here] = first + places[spot[here]]
        return found


def _in_order(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = np.argsort(hashes, kind="stable").astype(np.int32)
    return hashes[places], places


def _run(folder: Path, read: Read, first: int) -> tuple[np.ndarray, np.ndarray]:
    """A whole run from its file, which is written where it is not there; in memory where it cannot be."""
    file = folder / f"{first}-{first + RUN}"
    if not file.is_file() or file.stat().st_size != RUN * (KIND.itemsize + 4):
        hashes, places = _in_order(read(first, RUN))
        try:
            with replacing(file) as part, part.open("wb") as out:
                out.write(hashes.tobytes())
                out.write(places.tobytes())
        except OSError:
            return hashes, places
    kept = np.memmap(file, KIND, "r", 0, (RUN,))
    return kept, np.memmap(file, np.int32, "r", RUN * KIND.itemsize, (RUN,))
