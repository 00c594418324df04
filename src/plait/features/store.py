"""The feature store: every input is encoded once for each encoder, then read back.

Features live in one Lance table per encoder fingerprint, keyed by the content hash of the input. Tables are appended
to in chunks, and each append is one atomic commit: a killed encode goes on where it was. Chunks are merged as they
become many.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from plait.errors import StoreError, setting
from plait.features.costs import Costs
from plait.features.hashes import KIND, Hashes
from plait.files import cache_folder, write_json

FLUSH_ROWS = 2048
READ_ROWS = 8192
MANY = 128  # chunks of a table, above which they are merged
MERGED = MANY * FLUSH_ROWS  # rows of a merged one
HASHES = "_hashes"  # folder of their list, in that of the table
KEPT = timedelta(hours=1)  # how long what was merged stays for who has it open


class FeatureStore:
    """Lance tables of features in a folder.

    Args:
        folder: where the tables are; None for the user's cache folder.
        shared: processes that train together share it, and each encodes a part of what is new.
        memory_mb: megabytes of features, above which those of many rows stay on disk; None: they never do.

    Attributes:
        costs: what encoders cost, measured while they encode for this store.
    """

    def __init__(self, folder: str | Path | None = None, memory_mb: float | None = None, shared: bool = True):
        self.folder = Path(folder) if folder else cache_folder()
        self.memory_mb, self.shared = memory_mb, shared
        self.costs = Costs(self.folder / "costs")

    def table(self, fingerprint: str, encoder: str = "") -> FeatureTable:
        """The table of one encoder; made on its first append.

        Args:
            encoder: its name, which is written beside the table with the time of this use.
        """
        path = self.folder / "features" / f"{fingerprint}.lance"
        if encoder:
            with suppress(OSError):  # for people only
                write_json(name_of(path), {"encoder": encoder})
        return FeatureTable(path, self.shared)


def name_of(table: Path) -> Path:
    """The file beside a table that names its encoder."""
    return table.with_suffix(".json")


class FeatureTable:
    """Features of one encoder: ``hash`` (16 bytes), ``vector`` (dim float32), ``problem`` (why there is none)."""

    def __init__(self, path: Path, shared: bool = False):
        self.path, self.shared = path, shared
        self._hashes: Hashes | None = None

    def missing(self, hashes: Sequence[bytes]) -> list[bytes]:
        """Those of the given inputs that have no features yet. Raises StoreError where the table is damaged."""
        rows = self._rows(hashes)
        return [value for value, row in zip(hashes, rows, strict=True) if row < 0]

    def renew(self) -> None:
        """Look anew at what others have added."""
        self._hashes = None

    def __len__(self) -> int:
        return int(self._read(self._open().count_rows)) if self._exists() else 0

    def _rows(self, hashes: Sequence[bytes]) -> np.ndarray:
        if self._hashes is None:
            dataset: Any = self._open() if self._exists() else None

            def read(first: int, rows: int) -> np.ndarray:
                found = self._read(dataset.to_table, columns=["hash"], offset=first, limit=rows)["hash"]
                return _binary(found.combine_chunks())

            total = 0 if dataset is None else self._read(dataset.count_rows)
            self._hashes = Hashes(self.path / HASHES, read, total)
        return self._hashes.rows(hashes)

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
        rows, keys = self._rows(hashes), np.array(hashes, KIND)
        order = np.argsort(rows, kind="stable")
        dataset = self._open()
        for start in range(0, len(order), READ_ROWS):
            part = order[start : start + READ_ROWS]
            wanted, back = np.unique(rows[part], return_inverse=True)
            if wanted[0] < 0:
                raise self._damage("it lacks rows that it had")
            found = self._read(dataset.take, wanted.tolist(), columns=["hash", "vector"])
            if (_binary(found["hash"].combine_chunks())[back] != keys[part]).any():
                self._forget()
                raise self._damage("its rows are not where its list of them says")
            column = found["vector"].combine_chunks()
            vectors[part] = column.flatten().to_numpy().reshape(-1, dim)[back]
        return vectors

    def compact(self, kept: timedelta = KEPT) -> None:
        """Merge small chunks, and delete what was merged longer than `kept` ago.

        Raises:
            StoreError: the folder cannot be written, or the disk is full; nothing is lost.
        """
        if not self._exists():
            return
        dataset = self._open()
        try:
            dataset.optimize.compact_files(target_rows_per_fragment=MERGED, num_threads=1)
            dataset.cleanup_old_versions(older_than=kept)
        except Exception as error:
            raise write_error(self.path, error) from None
        self._hashes = None

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
            small = [one for one in self._write(pa.table(columns)).get_fragments() if one.count_rows() < MERGED]
            if len(small) > MANY:
                with suppress(StoreError):  # the rows are there; the next append tries again
                    self.compact()
        except Exception as error:  # lance raises OSError, ValueError and its own for one full disk
            raise write_error(self.path.parent, error) from None
        self._hashes = None  # another process may have added rows before these

    def _write(self, table: Any) -> Any:
        import lance

        if not self._exists() and self._create(table):
            return self._open()
        mode = "append" if self._exists() else "create"  # where an earlier version failed to, and left folders behind
        return lance.write_dataset(table, str(self.path), mode=mode)

    def _create(self, rows: Any) -> bool:
        """Make the table, and say whether this process was the first to.

        Of two that Lance creates at the same time in the same place, the later one replaces the other.
        """
        import lance

        with TemporaryDirectory(
            prefix=f".{self.path.name}-", dir=self.path.parent, ignore_cleanup_errors=True
        ) as folder:
            part = Path(folder) / "table"
            lance.write_dataset(rows, str(part), mode="create")
            try:
                part.rename(self.path)
            except OSError:
                return False
        return True

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
            raise self._damage(" ".join(str(error).split())[:160]) from None

    def _damage(self, reason: str) -> StoreError:
        return StoreError(f"feature table '{self.path}' cannot be read ({reason}); delete that folder")

    def _forget(self) -> None:
        """Drop the list of hashes, which the next reader makes anew."""
        self._hashes = None
        shutil.rmtree(self.path / HASHES, ignore_errors=True)


def _binary(column: Any) -> np.ndarray:
    """A column of 16 bytes each as NumPy's."""
    values = np.frombuffer(column.buffers()[1], KIND)
    return values[column.offset : column.offset + len(column)]


def write_error(folder: Path, error: Exception) -> StoreError:
    """What is said where a folder of features cannot be written."""
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error) or "os error 28" in str(error)
    reason = "no space left on the device" if full else " ".join(str(error).split())[:160]
    return StoreError(
        f"features cannot be written to '{folder}': {reason}; free space there or choose another folder "
        f"with {setting('store=FOLDER')} (what was encoded so far is kept)"
    )
