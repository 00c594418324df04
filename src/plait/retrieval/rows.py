"""Rows as an index keeps them: what a user sees of each, what may be asked for, and its vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.data.columns import KEPT
from plait.data.pairs import Pairs
from plait.errors import DataError, did_you_mean
from plait.retrieval.table import VECTOR
from plait.retrieval.where import Column

if TYPE_CHECKING:
    import pyarrow as pa

OWN = ("id", "label", "text", "image")


def columns_of(pairs: Pairs, keep: Sequence[str]) -> dict[str, Column]:
    """What may be asked for, by the user's names; kept columns have plain names of their own in the table.

    Raises:
        DataError: rows given as `Pairs` were read without such a column, or it is named as one that every index has.
    """
    found = {name: Column(name) for name in OWN}
    for number, name in enumerate(dict.fromkeys(keep)):
        if name in OWN:
            raise DataError(
                f"column '{name}' of {pairs.source} cannot be kept under that name; every index has its own"
            )
        if f"{KEPT}{name}" not in pairs.table.column_names:
            raise DataError(f"{pairs.source}: no column '{name}' to keep.{did_you_mean(name, pairs.columns)}")
        found[name] = Column(f"c{number}", _numbers(pairs.column(f"{KEPT}{name}")) is not None)
    return found


def as_table(pairs: Pairs, vectors: np.ndarray, columns: Mapping[str, Column]) -> pa.Table:
    """Rows for the table of an index.

    Args:
        vectors: (N, dim) float32.

    Raises:
        DataError: a column of numbers has something else in these rows.
    """
    import pyarrow as pa

    images = [ref.path if ref is not None and ref.bytes is None else None for ref in pairs.images()]
    known: dict[str, Any] = {"id": pairs.ids, "label": pairs.labels, "text": pairs.texts, "image": images}
    made = {name: pa.array(known[name], pa.string()) for name in OWN}
    for name, column in columns.items():
        if name in OWN:
            continue
        values = pairs.column(f"{KEPT}{name}")
        numbers = _numbers(values) if column.number else None
        if column.number and numbers is None:
            raise DataError(f"{pairs.source}: column '{name}' holds numbers in the index, and here something else, too")
        made[column.name] = pa.array(numbers, pa.float64()) if column.number else pa.array(values, pa.string())
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    made[VECTOR] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table(made)


def shown(row: Mapping[str, Any], score: float, columns: Mapping[str, Column]) -> dict[str, Any]:
    """A row that was found, as the user knows it: whole numbers without a point; what it has not is left away."""
    values = {name: row[column.name] for name, column in columns.items()}
    values = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in values.items()}
    return {"id": values.pop("id"), "score": round(score, 6), **{k: v for k, v in values.items() if v is not None}}


def _numbers(values: Sequence[str | None]) -> list[float | None] | None:
    """The values as numbers; None where one is none, or there are none at all."""
    try:
        found = [None if value is None else float(value) for value in values]
    except ValueError:
        return None
    some = [number for number in found if number is not None]
    return found if some and np.isfinite(some).all() else None
