"""From what is kept of encoders to features in row order: in memory, or on disk where they are too many for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from plait.features.store import READ_ROWS, FeatureStore, write_error

MB = 1 << 20
COPIES = 3  # of features, that training heads in memory makes at most
Hashes = Sequence[bytes | None]


class Cache(Protocol):
    """What is known of the inputs of one encoder; `shared` by the processes that encode together, or each one's own."""

    shared: bool

    def renew(self) -> None: ...

    def missing(self, hashes: Sequence[bytes]) -> list[bytes]: ...

    def problems(self) -> dict[bytes, str]: ...

    def append(self, hashes: Sequence[bytes], vectors: np.ndarray, problems: Sequence[str | None]) -> None: ...

    def read(self, hashes: Sequence[bytes], dim: int) -> np.ndarray: ...


class Memory:
    """Stands in for a feature table where nothing is to be kept, e.g. for a single prediction.

    Args:
        store: whose limit of memory holds; None: no limit.
    """

    shared = False

    def __init__(self, rows: int, dim: int, store: FeatureStore | None = None):
        self._places: dict[bytes, int] = {}
        self._problems: dict[bytes, str] = {}
        self._vectors = _new(rows, dim, store)

    def renew(self) -> None:
        """Nobody else adds to it."""

    def missing(self, hashes: Sequence[bytes]) -> list[bytes]:
        return [value for value in hashes if value not in self._places]

    def problems(self) -> dict[bytes, str]:
        return self._problems

    def append(self, hashes: Sequence[bytes], vectors: np.ndarray, problems: Sequence[str | None]) -> None:
        first = len(self._places)
        _put(self._vectors, first, vectors)
        self._places.update({value: first + i for i, value in enumerate(hashes)})
        self._problems.update({v: p for v, p in zip(hashes, problems, strict=True) if p is not None})

    def read(self, hashes: Sequence[bytes], dim: int) -> np.ndarray:
        return np.asarray(self._vectors[[self._places[value] for value in hashes]], np.float32).reshape(-1, dim)


def gather(caches: Sequence[tuple[Cache, int]], hashes: Hashes, store: FeatureStore | None) -> Any:
    """Features of encoders side by side in row order, zeros where there is no hash: NumPy's, or a `DiskMatrix`.

    Args:
        caches: one an encoder, and how many features it gives.
    """
    width = sum(dim for _, dim in caches)
    if fits(len(hashes), width, store):
        found = [_rows(cache, hashes, dim) for cache, dim in caches]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)
    out = _new(len(hashes), width, store)
    for first in range(0, len(hashes), READ_ROWS):
        part = hashes[first : first + READ_ROWS]
        _put(out, first, np.concatenate([_rows(cache, part, dim) for cache, dim in caches], axis=1))
    return out


def fits(rows: int, width: int, store: FeatureStore | None) -> bool:
    """Whether heads may be trained on so many features in memory."""
    return store is None or store.memory_mb is None or COPIES * 4 * rows * width <= store.memory_mb * MB


def _rows(cache: Cache, hashes: Hashes, dim: int) -> np.ndarray:
    rows = [row for row, value in enumerate(hashes) if value is not None]
    found = cache.read([value for value in hashes if value is not None], dim)
    if len(rows) == len(hashes):
        return found
    vectors = np.zeros((len(hashes), dim), np.float32)
    vectors[rows] = found
    return vectors


def _new(rows: int, width: int, store: FeatureStore | None) -> Any:
    if store is None or fits(rows, width, store):
        return np.zeros((rows, width), np.float32)
    from plait.matrix import DiskMatrix  # which brings PyTorch, that answering does without

    try:
        return DiskMatrix.new(store.folder / "features", rows, width)
    except OSError as error:
        raise write_error(store.folder / "features", error) from None


def _put(matrix: Any, first: int, rows: np.ndarray) -> None:
    if isinstance(matrix, np.ndarray):
        matrix[first : first + len(rows)] = rows
        return
    try:
        matrix.write(first, rows)
    except OSError as error:
        raise write_error(matrix.folder, error) from None
