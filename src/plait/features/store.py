"""The feature store: every input is encoded once for each encoder, then read back.

Features live in one Lance table per encoder fingerprint, keyed by the content hash of the input. Tables are appended
to in chunks, and each append is one atomic commit: a killed encode goes on where it was.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plait.errors import StoreError, setting
from plait.features.costs import Costs
from plait.files import cache_folder

FLUSH_ROWS = 2048
READ_ROWS = 8192


class FeatureStore:
    """Lance tables of features in a folder.

    Args:
        folder: where the tables are; None for the user's cache folder.

    Attributes:
        costs: what encoders cost, measured while they encode for this store.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder) if folder else cache_folder()
        self.costs = Costs(self.folder / "costs")

    def table(self, fingerprint: str) -> FeatureTable:
        """The table of one encoder; made on its first append."""
        return FeatureTable(self.folder / "features" / f"{fingerprint}.lance")


class FeatureTable:
    """Features of one encoder: ``hash`` (16 bytes), ``vector`` (dim float32), ``problem`` (why there is none)."""

    def __init__(self, path: Path):
        self.path = path
        self._index: dict[bytes, int] | None = None

    def index(self) -> dict[bytes, int]:
        """Content hash -> row of the table. Raises StoreError where the table is damaged."""
        if self._index is None:
            found: list[bytes] = []
            if self._exists():
                found = self._read(self._open().to_table, columns=["hash"])["hash"].to_pylist()
            self._index = {value: row for row, value in enumerate(found)}
        return self._index

    def problems(self) -> dict[bytes, str]:
        """Inputs that could not be decoded, and why."""
        if not self._exists():
            return {}
        table = self._read(self._open().to_table, columns=["hash", "problem"], filter="problem IS NOT NULL")
        return dict(zip(table["hash"].to_pylist(), table["problem"].to_pylist(), strict=True))

    def read(self, hashes: Sequence[bytes], dim: int) -> np.ndarray:
        """Vectors of the given inputs in the given order: one contiguous (N, dim) float32 array."""
        vectors = np.zeros((len(hashes), dim), np.float32)
        if not hashes:
            return vectors
        index = self.index()
        rows = np.fromiter((index[value] for value in hashes), np.int64, len(hashes))
        order = np.argsort(rows, kind="stable")
        dataset = self._open()
        for start in range(0, len(order), READ_ROWS):
            part = order[start : start + READ_ROWS]
            wanted, back = np.unique(rows[part], return_inverse=True)
            column = self._read(dataset.take, wanted.tolist(), columns=["vector"])["vector"].combine_chunks()
            vectors[part] = column.flatten().to_numpy().reshape(-1, dim)[back]
        return vectors

    def append(self, hashes: Sequence[bytes], vectors: np.ndarray, problems: Sequence[str | None]) -> None:
        """Add rows in one atomic commit.

        Raises:
            StoreError: the disk is full or the folder cannot be written; rows of earlier commits stay.
        """
        import pyarrow as pa

        flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
        columns = {
            "hash": pa.array(hashes, pa.binary(16)),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
            "problem": pa.array(problems, pa.string()),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write(pa.table(columns))
        except Exception as error:  # lance raises OSError, ValueError and its own for one full disk
            raise self._write_error(error) from None
        self._index = None  # another process may have added rows before these

    def _write(self, table: Any) -> None:
        import lance

        if not self._exists():
            try:
                lance.write_dataset(table, str(self.path), mode="create")
                return
            except Exception:
                if not self._exists():  # else another process was first
                    raise
        lance.write_dataset(table, str(self.path), mode="append")

    def _exists(self) -> bool:
        """Whether a first append has been committed; one that failed may leave folders behind."""
        return any(self.path.glob("_versions/*.manifest"))

    def _open(self) -> Any:
        import lance

        return self._read(lance.dataset, str(self.path))

    def _read(self, function: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return function(*arguments, **keywords)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise StoreError(f"feature table '{self.path}' cannot be read ({reason}); delete that folder") from None

    def _write_error(self, error: Exception) -> StoreError:
        full = (
            getattr(error, "errno", None) == errno.ENOSPC
            or "No space left" in str(error)
            or "os error 28" in str(error)
        )
        reason = "no space left on the device" if full else " ".join(str(error).split())[:160]
        return StoreError(
            f"features cannot be written to '{self.path.parent}': {reason}; free space there or choose another folder "
            f"with {setting('store=FOLDER')} (what was encoded so far is kept)"
        )
