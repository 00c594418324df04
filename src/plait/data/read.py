"""`read`: pairs from any usual source."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.config import Config
from plait.data.checks import has_any
from plait.data.columns import MODALITIES, Columns, group_column, is_split_name, split_name, split_order
from plait.data.formats.folders import class_folders, is_image, metadata_files, metadata_folder, walk
from plait.data.formats.food101 import is_kaggle, read_kaggle
from plait.data.formats.huggingface import from_hub, quiet
from plait.data.formats.lance import LANCE, read_lance
from plait.data.formats.memory import from_columns, from_frame, from_rows
from plait.data.formats.parts import BATCH, Part, assemble
from plait.data.formats.remote import read_url
from plait.data.formats.tables import open_file, table_suffix
from plait.data.pairs import Pairs
from plait.data.told import SHOWN, tell_columns
from plait.errors import DataError, and_more
from plait.progress import say

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDER_TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"}


def read(
    source: Any, *, columns: Columns | None = None, split: str | None = None, root: str | Path | None = None
) -> Pairs:
    """Read pairs.

    Args:
        source: a table file (.csv, .tsv, .jsonl, .parquet), a glob or a folder of such files; a folder of class
            folders; any of these behind a URL of fsspec's (``s3://``, ``https://`` for files); a Lance dataset
            (``NAME.lance``); a folder of images with a metadata table; UPMC Food-101; a name or saved folder of
            Hugging Face `datasets` (``NAME:CONFIG`` for one of its configurations); a `Dataset`, `DatasetDict`,
            pandas DataFrame or pyarrow Table; a dict of columns, a list of dicts or of (image, text), with images as
            paths, bytes or Pillow images; or `Pairs`, returned as they are. ``SOURCE#SPLIT`` reads one split.
        columns: names of the columns; those not given are guessed.
        split: name of the split to read; None: all rows, with `Pairs.splits` filled where the source has splits.
        root: folder that relative image paths start from; None: the table's own.

    Returns:
        Pairs of all N rows in the order of the source, splits in the order train, val, test.

    Raises:
        DataError: no such source, column or split; a malformed row, by file and line; an id in two rows.
    """
    columns = columns or Columns()
    if isinstance(source, str | Path):
        name = os.path.expanduser(source)
        if not name.strip():
            raise DataError("the source is empty; give a file, folder, URL or data set name")
        if "#" in name and split is None and not os.path.exists(name):
            name, _, split = name.rpartition("#")
        pairs = _read_name(name, columns, None if root is None else os.path.abspath(os.path.expanduser(root)))
    else:
        pairs = _read_object(source, columns, "" if root is None else os.path.abspath(os.path.expanduser(root)))
    return pairs if split is None else pairs.split(split_name(split))


def read_as(source: Any, config: Config, grouped: bool = False) -> Pairs:
    """Read a source as the configuration says: its columns, its root, and texts cleaned or not.

    A line says which columns were taken, where that is not plain from their names.

    Args:
        grouped: read the column of ``data.group``, too, where it names one.
    """
    return read_with(source, config, columns_in(config, grouped))


def columns_in(config: Config, grouped: bool = False) -> Columns:
    """The user's names for the columns; that of ``data.group`` only where rows will be divided."""
    data = config.data
    return Columns(data.id, data.image, data.text, data.label, group_column(data.group) if grouped else None)


def read_with(source: Any, config: Config, columns: Columns, shown: Sequence[str] = SHOWN) -> Pairs:
    """`read_as` with columns that more is known of; for `shown` see `tell_columns`."""
    pairs = read(source, columns=columns, root=config.data.root)
    if not isinstance(source, Pairs):
        tell_columns(pairs, columns, shown)
    return pairs.as_cleaned() if config.text.clean else pairs


def read_beside(
    train: Pairs, source: Any, config: Config, modalities: Sequence[str] = MODALITIES, grouped: bool = False
) -> Pairs:
    """Read validation or test rows with the columns of the training rows.

    Args:
        modalities: which of image and text will be used.
        grouped: as of `read_as`.

    Raises:
        DataError: as `read`, and where the training rows have one of the modalities and these have no column of it.
    """
    needed = tuple(one for one in modalities if one in train.taken or (not train.taken and has_any(train, one)))
    known = tuple(train.taken.items())
    columns = replace(columns_in(config, grouped), known=known, needed=needed, beside=True)
    pairs = read_with(source, config, columns)
    for one in () if isinstance(source, Pairs) else needed:
        if len(pairs) and not has_any(pairs, one):
            say(f"warning: {pairs.source}: no row has {'an image' if one == 'image' else 'a text'}; training rows have")
    return pairs


def _read_name(name: str, columns: Columns, root: str | None) -> Pairs:
    path = Path(name)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        return read_url(name, columns, root)
    if path.is_dir() and path.suffix == LANCE:
        return read_lance(os.path.abspath(path), name, columns, root or os.path.abspath(path.parent))
    if path.is_dir():
        return _read_folder(path, name, columns, root)
    if path.exists():
        if not table_suffix(name):
            raise DataError(f"{name}: not a table plait reads; give .csv, .tsv, .jsonl or .parquet, or a folder")
        return _read_tables([path], name, columns, root, splits=False)
    if glob.has_magic(name):
        found = [Path(match) for match in sorted(glob.glob(name, recursive=True)) if table_suffix(match)]
        if not found:
            raise DataError(f"no table file matches '{name}'; check the pattern")
        return _read_tables(found, name, columns, root)
    if _is_path(name):
        raise DataError(f"no such file or folder: '{name}'{_closest(path)}")
    with quiet():
        return _read_object(from_hub(name), columns, root or "", name)


def _is_path(name: str) -> bool:
    """Whether a name that is not there must be a mistyped path, and no dataset on the hub."""
    known = bool(table_suffix(name)) or is_image(os.path.basename(name)) or name.endswith((".zip", ".gz", ".tar"))
    return known or name.startswith((".", "/")) or name.count("/") > 1 or "\\" in name or name != name.strip("/ ")


def _closest(path: Path) -> str:
    beside = os.listdir(path.parent) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean '{path.parent / close[0]}'?" if close else "; check the path"


def _read_folder(folder: Path, name: str, columns: Columns, root: str | None) -> Pairs:
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        import datasets

        with quiet():
            return _read_object(datasets.load_from_disk(str(folder)), columns, root or "", name)
    own = [path for path in sorted(folder.iterdir()) if path.is_file() and table_suffix(path.name) in _FOLDER_TABLES]
    mmbt = any((folder / f"{split}.jsonl").is_file() for split in ("train", "dev", "test"))
    if is_kaggle(folder) and not mmbt:
        return read_kaggle(folder, name)
    metadata = metadata_files(folder)
    if metadata:
        return metadata_folder(folder, metadata, columns, name, _identity)
    if own:
        return _read_tables(own, name, columns, root)
    files = [folder.joinpath(*parts) for parts in walk(folder)]
    tables = [path for path in files if table_suffix(path.name) in _FOLDER_TABLES]
    if tables and not any(is_image(path.name) for path in files):
        return _read_tables(tables, name, columns, root)
    return class_folders(list(walk(folder)), os.path.abspath(folder), name)


def _identity(files: list[Path]) -> list[list[Any]]:
    """What tells one state of the files from another, without reading them."""
    stats = [(os.path.abspath(path), os.stat(path)) for path in files]
    return [[path, stat.st_size, stat.st_mtime_ns, stat.st_ino] for path, stat in stats]


def _read_tables(files: list[Path], name: str, columns: Columns, root: str | None, splits: bool = True) -> Pairs:
    kinds = sorted({table_suffix(path.name) for path in files})
    if len(kinds) > 1:
        raise DataError(
            f"{name}: tables of several kinds ({', '.join(kinds)}); give the files of one, e.g. '*{kinds[0]}'"
        )
    base = Path(os.path.commonpath([os.path.abspath(path.parent) for path in files]))
    named = {path: _file_split(os.path.relpath(path, base)) for path in files} if splits else {}
    if any(named.values()):
        out = [path.name for path in files if named[path] is None]
        if out:
            say(f"{name}: {and_more(out)} names no split and is left out")
        files = sorted((p for p in files if named[p]), key=lambda p: (split_order(named[p] or ""), str(p)))

    def part(path: Path) -> Part:
        where = name if len(files) == 1 and not splits else str(path)
        return open_file(path, where, root if root is not None else os.path.abspath(path.parent), named.get(path))

    key = [name, root, splits, *_identity(files)]
    return assemble(lambda: [part(path) for path in files], columns, name, key)


def _file_split(path: str) -> str | None:
    """The split that a path's words name, the file's own before its folders': ``data/train-00000-of-00002.parquet``."""
    for piece in reversed(path.split(os.sep)):
        words = [word for word in re.split(r"[^A-Za-z]+", piece) if is_split_name(word)]
        if words:
            return split_name(words[0])
    return None


def _read_object(source: Any, columns: Columns, root: str, name: str = "") -> Pairs:
    """A table in memory, or a dataset that is mapped from disk."""
    import datasets
    import pandas as pd
    import pyarrow as pa

    if isinstance(source, Pairs):
        return source
    if isinstance(source, datasets.Dataset):
        return _read_datasets({None: source}, columns, root, name or "dataset")
    if isinstance(source, datasets.DatasetDict):
        return _read_datasets(dict(source), columns, root, name or "dataset")
    if isinstance(source, pd.DataFrame):
        return _read_object(from_frame(source), columns, root, name or "data frame")
    if isinstance(source, Mapping):
        return _read_object(from_columns(source), columns, root, name or "dict of columns")
    if isinstance(source, Sequence):
        return _read_object(from_rows(source), columns, root, name or "list of rows")
    if isinstance(source, pa.Table):
        name = name or "table"
        part = Part(
            where=name,
            names=tuple(source.column_names),
            batches=lambda names: iter(source.select(names).to_batches(max_chunksize=BATCH)),
            root=root,
        )
        return assemble(lambda: [part], columns, name)
    raise DataError(
        f"cannot read pairs from {type(source).__name__}; give a path, URL, data frame, table, dataset, dict of "
        "columns, list of dicts, or list of (image, text)"
    )


def _read_datasets(sets: dict[Any, Any], columns: Columns, root: str, name: str) -> Pairs:
    from datasets import ClassLabel

    def batches(dataset: Any) -> Callable[[list[str]], Iterator[pa.RecordBatch]]:
        def iterate(names: list[str]) -> Iterator[pa.RecordBatch]:
            for table in dataset.select_columns(names).with_format("arrow").iter(BATCH):
                yield from table.combine_chunks().to_batches()

        return iterate

    ordered = sorted(sets.items(), key=lambda item: split_order(split_name(item[0] or "")))
    parts = [
        Part(
            where=name if split is None else f"{name}#{split}",
            names=tuple(dataset.column_names),
            batches=batches(dataset),
            root=root,
            split=split,
            classes={n: kind.names for n, kind in dataset.features.items() if isinstance(kind, ClassLabel)},
            rows=len(dataset),
        )
        for split, dataset in ordered
    ]
    on_disk = all(dataset.cache_files for dataset in sets.values())
    key = [name, root, *([split, dataset._fingerprint] for split, dataset in ordered)] if on_disk else None
    return assemble(lambda: parts, columns, name, key)
