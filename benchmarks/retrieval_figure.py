"""The picture of docs/retrieval.md: rows that words and pictures find, side by side.

    python -m benchmarks.retrieval_figure INDEX DATA docs/retrieval.png "red summer dress" "ID of a row of DATA"

A query that is the id of a row of DATA stands for its picture alone; pictures of what is found come from DATA.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

from plait.config import Config
from plait.data.pairs import Pairs
from plait.data.read import read_as
from plait.retrieval.index import Index

SHOWN = 6  # rows of a query
LINE = 20  # characters


def main() -> None:
    """Draw the figure."""
    folder, data, file, *queries = sys.argv[1:]
    mpl.use("agg")
    from matplotlib import pyplot

    index, pairs = Index.open(folder), read_as(data, Config())
    figure, axes = pyplot.subplots(len(queries), SHOWN + 1, figsize=(9.6, 2.1 * len(queries)), squeeze=False)
    for line, query in zip(axes, queries, strict=True):
        known = query in pairs.ids
        found = index.find(image=_file(pairs, query)) if known else index.find(text=query)
        found = [row for row in found if row["id"] != query][:SHOWN]
        for place in line:
            place.axis("off")
        if known:
            line[0].imshow(_open(_file(pairs, query)))
            line[0].set_title("query: a picture", fontsize=8)
        else:
            line[0].text(0.5, 0.5, query.replace(" ", "\n"), ha="center", va="center", style="italic", fontsize=11)
            line[0].set_title("query: words", fontsize=8)
        for place, row in zip(line[1:], found, strict=False):
            place.imshow(_open(_file(pairs, row["id"])))
            place.set_title(_broken(row), fontsize=6.5)
    figure.tight_layout()
    figure.savefig(Path(file), dpi=110, metadata={"Software": None})


def _file(pairs: Pairs, key: str) -> bytes:
    ref = next(pairs.images([pairs.ids.index(key)]))
    assert ref is not None
    return ref.load()


def _open(content: bytes) -> Any:
    return Image.open(io.BytesIO(content)).convert("RGB")


def _broken(row: dict[str, Any]) -> str:
    lines = [""]
    for word in str(row.get("text", "")).split():
        if len(lines[-1]) + len(word) > LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:3]) + f"\n{row['score']:.2f}"


if __name__ == "__main__":
    main()
