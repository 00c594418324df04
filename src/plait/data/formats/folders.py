"""Folders of images: one folder a class, or images beside a metadata table (the imagefolder convention)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from plait.data.columns import Columns, is_split_name, split_name, split_order
from plait.data.formats.parts import Part, assemble
from plait.data.formats.tables import open_file
from plait.data.pairs import Pairs
from plait.errors import DataError, and_more
from plait.progress import say

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_HARMLESS = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".md", ".xml", ".yaml", ".yml", ".db", ".html")


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes, in lower case, of the image formats that Pillow reads."""
    from PIL import Image

    Image.init()
    return frozenset(s for s, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind != "PDF")


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's does."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in image_suffixes()


def walk(folder: Path) -> Iterator[tuple[str, ...]]:
    """Relative path, as its parts, of every file under the folder, sorted; hidden ones are left out."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if entry.is_dir():
            if entry.is_symlink() and folder.resolve().is_relative_to(Path(entry.path).resolve()):
                continue  # a link to a folder above would be walked for ever
            for rest in walk(Path(entry.path)):
                yield (entry.name, *rest)
        else:
            yield (entry.name,)


def class_folders(found: Sequence[tuple[str, ...]], root: str, source: str) -> Pairs:
    """Read ``<class>/<file>`` or ``<split>/<class>/<file>``; the id is the relative path, images outside any
    class folder have no label.

    Args:
        found: the relative path, as its parts, of every file. root: the folder or URL that they are under.

    Raises DataError where no file is an image.
    """
    unknown: Counter[str] = Counter()
    files = []
    for parts in found:
        suffix = os.path.splitext(parts[-1])[1].lower()
        if is_image(parts[-1]):
            files.append(parts)
        elif suffix not in _HARMLESS and parts[-1] != "Thumbs.db":
            unknown[suffix or parts[-1]] += 1
    if unknown:
        kinds = and_more([f"{n} {suffix}" for suffix, n in sorted(unknown.items())])
        say(f"{source}: files that are no images, left out: {unknown.total()} ({kinds})")
    if not files:
        raise DataError(f"{source}: neither images nor a table (.csv, .tsv, .jsonl, .parquet) in this folder")
    has_splits = all(len(parts) > 1 and is_split_name(parts[0]) for parts in files)
    files.sort(key=lambda parts: (split_order(split_name(parts[0])), parts) if has_splits else parts)
    depth = 1 if has_splits else _depth(files)
    pairs = Pairs.from_columns(
        images=["/".join((root, *parts)) for parts in files],
        labels=[parts[depth] if len(parts) > depth + 1 else None for parts in files],
        ids=["/".join(parts) for parts in files],
        source=source,
    )
    splits = group([split_name(parts[0]) for parts in files]) if has_splits else {}
    return Pairs(pairs.table, source, splits)


def _depth(files: list[tuple[str, ...]]) -> int:
    """How many folders to go down to the class folders: a lone ``images`` folder around them is no class."""
    depth = 0
    while len({parts[depth] for parts in files}) == 1 and all(len(parts) > depth + 2 for parts in files):
        depth += 1
    return depth


def group(names: list[str]) -> dict[str, np.ndarray]:
    """Row numbers by name, the names in the usual order of splits."""
    column = np.asarray(names, dtype=object)
    return {name: np.flatnonzero(column == name).astype(np.int64) for name in sorted(set(names), key=split_order)}


def metadata_files(folder: Path) -> list[Path]:
    """The metadata tables of an image folder: its own, else those of its subfolders (one a split)."""
    own = [folder / name for name in METADATA if (folder / name).is_file()]
    return own[:1] or sorted(path for name in METADATA for path in folder.glob(f"*/{name}"))


def metadata_folder(
    folder: Path, tables: list[Path], columns: Columns, source: str, key: Callable[[list[Path]], Any]
) -> Pairs:
    """Read images named by metadata tables; the id is the relative path where there is no id column.

    Images that no table lists are counted in a said line.
    """
    tables = sorted(tables, key=lambda path: split_order(split_name(path.parent.name)))
    in_splits = all(path.parent != folder for path in tables)

    def part(path: Path) -> Part:
        relative = path.parent.relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        where = f"{source}/{prefix}{path.name}"
        return open_file(path, where, os.path.abspath(path.parent), relative if in_splits else None, prefix)

    pairs = assemble(lambda: [part(path) for path in tables], columns, source, ["metadata", *key(tables)])
    listed = {os.path.normpath(ref.path) for ref in pairs.images() if ref is not None and ref.path}
    found = (os.path.abspath(folder.joinpath(*parts)) for parts in walk(folder) if is_image(parts[-1]))
    extra = sum(path not in listed for path in found)
    if extra:
        names = and_more([path.relative_to(folder).as_posix() for path in tables])
        say(f"{source}: images that are not listed in {names}, left out: {extra}")
    return pairs
