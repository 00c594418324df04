"""Folders of indexes: what one says of itself, what is refused, and how one becomes whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from plait.errors import RunError, option
from plait.files import read_json, write_json
from plait.retrieval.space import Space
from plait.retrieval.table import Search
from plait.retrieval.where import Column

INDEX, ROWS, CENTRE = "index.json", "rows.lance", "centre.safetensors"
FORMAT = 1


def write_facts(folder: Path, space: Space, columns: Mapping[str, Column], search: Search) -> None:
    """Note what rows were indexed with, and how they are searched."""
    from safetensors.numpy import save_file

    from plait import __version__

    facts = {"folder": str(Path(space.engine.folder).resolve()), "kind": space.kind, "dim": space.dim}
    if space.kind == "features":
        save_file({s: np.ascontiguousarray(x) for s, x in space.centre.items()}, folder / CENTRE)
    write_json(
        folder / INDEX,
        {
            "format": FORMAT,
            "plait": __version__,
            "space": {**facts, "fingerprint": space.fingerprint},
            "columns": {name: asdict(one) for name, one in columns.items()},
            "search": search.as_json(),
        },
    )


def read_facts(folder: Path) -> dict[str, Any]:
    """What an index says of itself. Raises RunError where it is none, damaged, or of a newer version."""
    facts = read_json(folder / INDEX)
    if not isinstance(facts, dict) or not (folder / ROWS).is_dir():
        why = f"no such folder: '{folder}'" if not folder.is_dir() else f"'{folder}' is no index"
        raise RunError(f"{why}; give a folder written by plait index")
    if facts.get("format") != FORMAT:
        raise RunError(
            f"index '{folder}' has format {facts.get('format')}, written by plait {facts.get('plait', '?')}; "
            f"this plait reads format {FORMAT}: upgrade plait, or build it again"
        )
    if missing := sorted({"space", "columns", "search"} - set(facts)):
        raise RunError(f"index '{folder}': {INDEX} lacks {', '.join(missing)}; build it again")
    return facts


def require_same(folder: Path, facts: dict[str, Any], space: Space) -> None:
    """Raise RunError where the model is not the one whose vectors the index holds."""
    remedy = f"build it again with plait index, or give the one it was built with: {option('--run RUN', 'model')}"
    if facts["dim"] != space.dim:
        raise RunError(
            f"index '{folder}' holds vectors of {facts['dim']} numbers, and '{space.engine.folder}' gives {space.dim}; "
            f"{remedy}"
        )
    if facts["fingerprint"] != space.fingerprint:
        raise RunError(f"index '{folder}' was built with other encoders than '{space.engine.folder}' has; {remedy}")


def read_centre(folder: Path) -> dict[str, np.ndarray]:
    """What was taken from features before they were compared. Raises RunError where that is not known."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(folder / CENTRE))
    except (OSError, SafetensorError):
        raise RunError(f"index '{folder}': {CENTRE} is missing or damaged; build it again") from None


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A hidden folder beside an index, which becomes it where the block ends well; one that was killed is cleared."""
    part = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
