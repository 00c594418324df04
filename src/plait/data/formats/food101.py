"""UPMC Food-101 as it is found in the wild (https://visiir.isir.upmc.fr/explore).

The Kaggle layout is read here: ``images/{train,test}/<class>/<class>_<n>.jpg`` beside
``texts/{train,test}_titles.csv``, which is no CSV that a parser can trust. The titles hold unescaped commas and stray
quotes, so a line is read from both ends: the first field is the image, the last the class, the title is all between.

The MMBT layout, ``{train,dev,test}.jsonl`` with ``id, label, text, img``, needs nothing of its own: `read` takes it as
any folder of tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plait.data.columns import split_name, split_order
from plait.data.formats.folders import group, is_image
from plait.data.pairs import Pairs
from plait.errors import DataError, and_more
from plait.progress import say

# An optional row number, then the image: what every row begins with, and no other line of a title does.
_ROW = re.compile(r'(?:"?\d+"?,)?"?([^,"\s]+\.(?:jpe?g|png|gif|webp|bmp|txt))"?,(.*)', re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class _Row:
    split: str
    name: str
    label: str
    text: str | None
    path: str
    found: bool


def is_kaggle(folder: Path) -> bool:
    """Whether the folder has the Kaggle layout."""
    return (folder / "images").is_dir() and any((folder / "texts").glob("*_titles.csv"))


def read_kaggle(folder: Path, source: str) -> Pairs:
    """Read every title and every image; the id is the image's path under ``images``.

    A title whose image is missing and an image that has no title are both kept, and counted in a said line.
    Raises DataError naming file and line of a row that cannot be read.
    """
    titles = {split_name(path.stem.removesuffix("_titles")): path for path in (folder / "texts").glob("*_titles.csv")}
    images = {split_name(path.name): path for path in (folder / "images").iterdir() if path.is_dir()}
    rows: list[_Row] = []
    for split in sorted({*titles, *images}, key=split_order):
        rows += _read_split(split, titles.get(split), images.get(split, folder / "images" / split), source)
    missing = [row.name for row in rows if not row.found]
    if missing:
        say(f"{source}: titles without an image file: {len(missing)} ({and_more(missing)}); kept")
    silent = [row.name for row in rows if row.text is None]
    if silent:
        say(f"{source}: images without a title: {len(silent)} ({and_more(silent)}); kept")
    pairs = Pairs.from_columns(
        images=[row.path for row in rows],
        texts=[row.text for row in rows],
        labels=[row.label for row in rows],
        ids=_ids(rows),
        source=source,
    )
    return Pairs(pairs.table, source, group([row.split for row in rows]), ("image_path", "text", "food"))


def _ids(rows: list[_Row]) -> list[str]:
    """``split/class/file``, with ``#2`` and so on where one image has several titles."""
    seen: dict[str, int] = {}
    ids = []
    for row in rows:
        name = f"{row.split}/{row.label}/{row.name}"
        seen[name] = seen.get(name, 0) + 1
        ids.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return ids


def _read_split(split: str, titles: Path | None, images: Path, source: str) -> list[_Row]:
    classes = _images(images)
    by_name = {name: label for label, names in classes.items() for name in sorted(names)}
    rows, used = [], set()
    for line, path, text, label in _titles(titles, source) if titles is not None else ():
        stem = os.path.splitext(path.replace("\\", "/").rsplit("/", 1)[-1])[0]
        if label not in classes and not stem.startswith(f"{label}_"):
            raise DataError(
                f"{source}/texts/{titles.name if titles else ''}, line {line}: the last field, '{label}', is no class: "
                f"{images.name} has no such folder; end the row with its class"
            )
        name = _file_name(path, stem, label, classes, by_name)
        home = label if name in classes.get(label, ()) else by_name.get(name, label)
        used.add((home, name))
        found = name in classes.get(home, ())
        rows.append(_Row(split, name, label, text, os.path.abspath(images / home / name), found))
    for label, names in classes.items():
        untitled = (name for name in sorted(names) if (label, name) not in used)
        rows += [_Row(split, name, label, None, os.path.abspath(images / label / name), True) for name in untitled]
    return rows


def _file_name(path: str, stem: str, label: str, classes: dict[str, set[str]], by_name: dict[str, str]) -> str:
    """The image's file name. Some paths end in ``.txt``, after the page that the title came from."""
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    if not name.lower().endswith(".txt"):
        return name
    candidates = [stem + suffix for suffix in (".jpg", ".jpeg", ".png", ".JPG")]
    return next((c for c in candidates if c in classes.get(label, ()) or c in by_name), candidates[0])


def _images(folder: Path) -> dict[str, set[str]]:
    """Names of the image files of each class folder, the classes sorted."""
    if not folder.is_dir():
        return {}
    labels = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return {label: {name for name in os.listdir(folder / label) if is_image(name)} for label in labels}


def _titles(file: Path, source: str) -> Iterator[tuple[int, str, str | None, str]]:
    """Yield line number, image path, title and class of each row; a line that begins no row goes on with a title."""
    where = f"{source}/texts/{file.name}"
    held: list[str] = []
    start = 1
    for number, raw in enumerate(file.read_bytes().split(b"\n"), 1):
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").rstrip("\r")
        if _ROW.match(line):
            if held:
                yield _parse("\n".join(held), where, start)
            held, start = [line], number
        elif held:
            held.append(line)
        elif line.strip() and not (number == 1 and "text" in line.lower().split(",")):
            raise DataError(f"{where}, line {number}: the row does not begin with an image; write image,title,class")
    if held:
        yield _parse("\n".join(held), where, start)


def _parse(row: str, where: str, line: int) -> tuple[int, str, str | None, str]:
    match = _ROW.fullmatch(row.rstrip())
    title, comma, label = match[2].rpartition(",") if match else ("", "", "")
    label = label.strip().strip('"')
    if match is None or not comma or not label:
        raise DataError(f"{where}, line {line}: fewer than three fields; write image,title,class")
    return line, match[1], _clean(title), label


def _clean(title: str) -> str | None:
    """Undo CSV quoting where the title is quoted as a whole, and take off the brackets of a printed Python list."""
    inner = title[1:-1]
    if len(title) > 1 and title[0] == title[-1] == '"' and '"' not in inner.replace('""', ""):
        title = inner.replace('""', '"')
    title = re.sub(r"""^\[['"]|['"]\]$""", "", title.strip())
    return title if title.strip() else None
