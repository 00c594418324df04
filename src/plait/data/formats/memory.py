"""Rows in memory as an Arrow table: data frames, dicts of columns, lists of dicts, lists of (image, text)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plait.data.images import as_image
from plait.data.pairs import Pairs
from plait.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def from_frame(frame: pd.DataFrame) -> pa.Table:
    """A data frame as an Arrow table; columns of mixed types, images among them, are cast value by value."""
    import pyarrow as pa

    arrays = []
    for place in range(frame.shape[1]):
        values = frame.iloc[:, place]
        try:
            arrays.append(pa.Array.from_pandas(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            arrays.append(_cells(values))
    return pa.Table.from_arrays(arrays, names=[str(name) for name in frame.columns])


def from_columns(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Columns by name as an Arrow table.

    Raises:
        DataError: they have different lengths.
    """
    import pyarrow as pa

    lengths = {str(name): len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns of different lengths: {lengths}; give one value (or None) a row")
    return pa.Table.from_arrays([_cells(values) for values in columns.values()], names=list(lengths))


def from_rows(rows: Sequence[Any]) -> pa.Table | Pairs:
    """Dicts as an Arrow table, a key that a dict lacks being missing there; or tuples of an image and a text as pairs.

    Raises:
        DataError: a row that is neither, by number, or one that is not of the same kind as the first.
    """
    if not rows:
        raise DataError("the list has no rows; give some")
    kind = Mapping if isinstance(rows[0], Mapping) else tuple | list
    for number, row in enumerate(rows):
        if not isinstance(row, kind) or (kind is not Mapping and len(row) != 2):
            wanted = "a dict as the first row is" if kind is Mapping else "(image, text), or all rows as dicts"
            raise DataError(f"row {number} of the list is {_named(row)}; give {wanted}")
    if kind is Mapping:
        names = dict.fromkeys(name for row in rows for name in row)
        return from_columns({name: [row.get(name) for row in rows] for name in names})
    return Pairs.from_columns([row[0] for row in rows], [row[1] for row in rows], source="list of rows")


def _named(row: Any) -> str:
    return f"a {type(row).__name__}" + (f" of {len(row)}" if isinstance(row, tuple | list) else "")


def _cells(values: Iterable[Any]) -> pa.Array:
    """Values as one array: pictures as the structs of a pairs table, mixed types as strings."""
    import pyarrow as pa

    cells = [None if value is None or value != value else value for value in values]
    if any(hasattr(cell, "save") or isinstance(cell, bytes | dict) for cell in cells):
        return pa.array([as_image(cell) for cell in cells])
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if cell is None else str(cell) for cell in cells])
