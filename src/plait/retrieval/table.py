"""The table of an index: rows and their vectors in Lance, searched exactly or by one of its vector indexes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plait.errors import ConfigError, RunError, did_you_mean

EXACT_BELOW = 100_000  # rows; a search that looks at all of them is then quick enough
KINDS = {
    "exact": "", "ivf_flat": "IVF_FLAT", "ivf_sq": "IVF_SQ", "ivf_pq": "IVF_PQ", "ivf_hnsw_flat": "IVF_HNSW_FLAT",
    "ivf_hnsw_sq": "IVF_HNSW_SQ", "ivf_hnsw_pq": "IVF_HNSW_PQ",
}  # fmt: skip
ENOUGH = 0.95  # recall that the number of partitions looked into is chosen by
SAMPLE, NEAREST = 100, 10  # queries, and rows asked for, that recall is measured by
REFINE = 10  # times k rows that a quantised index looks at again in full precision
VECTOR, DISTANCE = "vector", "_distance"


@dataclass(frozen=True)
class Search:
    """How a table is searched.

    Attributes:
        kind: a key of `KINDS`.
        partitions: of the vector index. probes: how many of them a search looks into.
        recall: share of the exact search's `NEAREST` rows that are found, the least of all forms of query; 1 if exact.
        forms: the same of each form of query: with an image, with a text, with both.
        speed: seconds of the exact search to those of this one, when it was built.
        sample: queries of each form that these were measured by.
    """

    kind: str = "exact"
    partitions: int = 0
    probes: int = 0
    recall: float = 1.0
    forms: dict[str, float] | None = None
    speed: float = 1.0
    sample: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def require_kind(kind: str) -> None:
    """Raise ConfigError for a kind of search that there is none of."""
    if kind != "auto" and kind not in KINDS:
        raise ConfigError(f"no kind of index '{kind}'.{did_you_mean(kind, ['auto', *KINDS])}")


class RowTable:
    """A Lance table with a column of vectors."""

    def __init__(self, path: Path):
        self.path = path
        self._opened: Any = None

    @property
    def _dataset(self) -> Any:
        if self._opened is None:
            self._opened = self._read(_lance().dataset, str(self.path))
        return self._opened

    def __len__(self) -> int:
        return int(self._read(self._dataset.count_rows))

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self._dataset.schema.field(VECTOR).type.list_size)

    def count(self, where: str | None) -> int:
        """Rows that a filter leaves."""
        return int(self._read(self._dataset.count_rows, where))

    def write(self, table: Any) -> None:
        """Add rows, a pyarrow table, in one commit; the first makes the table."""
        mode = "append" if self._opened is not None or self.path.exists() else "create"
        self._opened = _lance().write_dataset(table, str(self.path), mode=mode)

    def delete(self, where: str) -> None:
        """Take rows out, in one commit."""
        self._dataset.delete(where)

    def values(self, column: str, where: str | None = None) -> list[Any]:
        """One column of every row, or of those that a filter leaves."""
        found: list[Any] = self._read(self._dataset.to_table, columns=[column], filter=where)[column].to_pylist()
        return found

    def index(self, kind: str) -> int:
        """Build a vector index and give the number of its partitions."""
        rows = len(self)
        partitions = max(1, min(4096, round(float(np.sqrt(rows)))))
        sizes: dict[str, Any] = {}
        if kind.endswith("pq"):
            sizes["num_sub_vectors"] = _divisor(self.dim)
        self._dataset.create_index(
            VECTOR, KINDS[kind], metric="cosine", num_partitions=partitions, replace=True, **sizes
        )  # fmt: skip
        self._opened = None
        return partitions

    def follow(self) -> None:
        """Let the vector index know rows that were added, in the partitions it has."""
        self._dataset.optimize.optimize_indices(num_indices_to_merge=0)
        self._opened = None

    def nearest(
        self, query: np.ndarray, k: int, columns: Sequence[str], search: Search, where: str | None = None
    ) -> tuple[list[dict[str, Any]], np.ndarray]:
        """The k rows nearest to a (dim,) query, nearest first: their columns, and the (k,) cosines."""
        asked: dict[str, Any] = {"column": VECTOR, "q": query.astype(np.float32), "k": k, "metric": "cosine"}
        if search.kind == "exact":
            asked["use_index"] = False
        else:
            asked["nprobes"] = search.probes
            if not search.kind.endswith("flat"):
                asked["refine_factor"] = REFINE
        found = self._read(
            self._dataset.to_table, columns=[*columns, DISTANCE], nearest=asked, filter=where, prefilter=True
        )
        cosines = 1 - found[DISTANCE].to_numpy()
        return found.select(list(columns)).to_pylist(), cosines

    def _read(self, function: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return function(*arguments, **keywords)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise RunError(f"index '{self.path.parent}' is damaged ({reason}); build it again") from None


def measured(table: RowTable, queries: dict[str, np.ndarray], kind: str, partitions: int) -> Search:
    """The fewest probes, tried in steps of a half, with which each form of query finds `ENOUGH` of what is nearest.

    Args:
        queries: (S, dim) of each form.
    """
    exact, seconds = {}, 0.0
    for form, some in queries.items():
        start = time.perf_counter()
        exact[form] = [_ids(table, query, Search()) for query in some]
        seconds += time.perf_counter() - start
    probes = 1
    while True:
        search, start = Search(kind, partitions, probes), time.perf_counter()
        found = {form: [_ids(table, query, search) for query in some] for form, some in queries.items()}
        ratio = seconds / (time.perf_counter() - start)
        forms = {
            form: float(np.mean([len(a & b) / max(1, len(b)) for a, b in zip(found[form], exact[form], strict=True)]))
            for form in queries
        }
        if min(forms.values()) >= ENOUGH or probes >= partitions:
            least, sample = round(min(forms.values()), 4), max(map(len, queries.values()))
            forms = {form: round(share, 4) for form, share in forms.items()}
            return Search(kind, partitions, probes, least, forms, round(ratio, 1), sample)
        probes = min(-(-3 * probes // 2), partitions)


def _ids(table: RowTable, query: np.ndarray, search: Search) -> set[str]:
    return {row["id"] for row in table.nearest(query, NEAREST, ["id"], search)[0]}


def _divisor(dim: int) -> int:
    """Parts of a vector that a product quantisation has: of about 8 numbers each."""
    return next(parts for parts in range(max(1, dim // 8), 0, -1) if dim % parts == 0)


def _lance() -> Any:
    # It warns on standard error of what is of no use to a user.
    os.environ.setdefault("LANCE_LOG", "error")
    import lance

    return lance
