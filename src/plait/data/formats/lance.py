"""Lance datasets, here or in object storage, opened as parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from plait.data.columns import Columns
from plait.data.formats.parts import BATCH, Part, assemble
from plait.data.pairs import Pairs
from plait.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

LANCE = ".lance"  # how the name of a dataset's folder ends


def _open(uri: str, where: str, root: str) -> Part:
    """Open a dataset that `_state` has found to be one."""
    import lance

    dataset = lance.dataset(uri)

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            yield from dataset.to_batches(columns=names, batch_size=BATCH)
        except Exception as error:  # lance raises OSError, ValueError and its own
            raise DataError(f"{where}: damaged Lance dataset ({_first(error)})") from error

    return Part(where=where, names=tuple(dataset.schema.names), batches=batches, root=root, rows=dataset.count_rows())


def read_lance(uri: str, source: str, columns: Columns, root: str) -> Pairs:
    """Read a dataset as pairs. Raises DataError where it is none, or as `assemble` does."""
    key = [source, root, *_state(uri, source)]
    return assemble(lambda: [_open(uri, source, root)], columns, source, key)


def _state(uri: str, where: str) -> list[str]:
    """What tells one state of a dataset from another. Raises DataError where it is none."""
    import lance

    try:
        last = lance.dataset(uri).versions()[-1]
    except Exception as error:
        raise DataError(f"{where}: cannot be read as a Lance dataset ({_first(error)}); check the address") from error
    return [uri, str(last["version"]), str(last["timestamp"])]


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
