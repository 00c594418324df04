"""Approximate search against exact search of the same table, on a million made vectors.

    python -m benchmarks.retrieval_speed [ROWS] [KIND]

Vectors of 64 numbers, around 10,000 centres: each is its centre and noise of 0.7 times the spread of the centres.
Queries are made the same way and are none of the rows. Both searches are Lance's, in turns on one table; beside them
one inner product of NumPy with all vectors in memory. Recall is that of the 10 nearest rows.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from plait.retrieval.table import NEAREST, VECTOR, RowTable, Search, measured

DIM, CENTRES, NOISE, QUERIES = 64, 10_000, 0.7, 100
CHUNK = 100_000


def main() -> None:
    """Print how long each step takes, and a line for each search."""
    rows = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    kind = sys.argv[2] if len(sys.argv) > 2 else "ivf_flat"
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(CENTRES, DIM)).astype(np.float32)
    vectors, queries = _made(draw, centres, rows), _made(draw, centres, QUERIES)
    with tempfile.TemporaryDirectory() as folder:
        table = RowTable(Path(folder) / "rows.lance")
        start = time.perf_counter()
        for first in range(0, rows, CHUNK):
            table.write(_table(vectors[first : first + CHUNK], first))
        print(f"{rows:,} rows written in {time.perf_counter() - start:.0f} s", flush=True)
        start = time.perf_counter()
        partitions = table.index(kind)
        print(f"{kind} of {partitions} partitions built in {time.perf_counter() - start:.0f} s", flush=True)
        search = measured(table, {"made": _made(draw, centres, QUERIES)}, kind, partitions)
        print(f"{search.probes} probes, by {search.sample} other queries: recall {search.recall:.3f}", flush=True)
        _compare(table, vectors, queries, search)
        start = time.perf_counter()
        table.write(_table(_made(draw, centres, rows // 100), rows))
        table.follow()
        print(f"1 % more rows added in {time.perf_counter() - start:.1f} s")


def _compare(table: RowTable, vectors: np.ndarray, queries: np.ndarray, search: Search) -> None:
    seconds: dict[str, list[float]] = {"exact": [], "approximate": [], "numpy": []}
    shares = []
    for query in queries:
        found = {}
        for name, one in (("exact", Search()), ("approximate", search)):
            start = time.perf_counter()
            found[name] = {row["id"] for row in table.nearest(query, NEAREST, ["id"], one)[0]}
            seconds[name].append(time.perf_counter() - start)
        start = time.perf_counter()
        np.argpartition(-(vectors @ query), NEAREST)[:NEAREST]
        seconds["numpy"].append(time.perf_counter() - start)
        shares.append(len(found["exact"] & found["approximate"]) / NEAREST)
    median = {name: float(np.median(some)) for name, some in seconds.items()}
    print(f"recall {np.mean(shares):.3f} of {len(queries)} queries")
    for name, one in median.items():
        print(f"{name:<12} {1000 * one:8.2f} ms, {one / median['approximate']:6.1f} times the approximate search's")


def _made(draw: np.random.Generator, centres: np.ndarray, rows: int) -> np.ndarray:
    made = centres[draw.integers(0, len(centres), rows)]
    made = made + np.float32(NOISE) * draw.standard_normal((rows, DIM), np.float32)
    found: np.ndarray = made / np.linalg.norm(made, axis=1, keepdims=True)
    return found


def _table(vectors: np.ndarray, first: int):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    ids = pa.array([str(row) for row in range(first, first + len(vectors))])
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    return pa.table({"id": ids, VECTOR: flat})


if __name__ == "__main__":
    main()
