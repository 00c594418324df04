"""Parts of a source (files, splits, tables in memory) written as one pairs table.

Batches stream from each part through the casts of `convert` into an Arrow file in the cache of Hugging Face
`datasets`, which is then memory-mapped: a table may be larger than memory, and a second read costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.data.columns import KEPT, MODALITIES, NONE, Columns, resolve, split_name, split_order
from plait.data.formats.arrow import image_array, label_array, text_array
from plait.data.images import content_hash
from plait.data.pairs import COLUMNS, GROUP, Pairs, features
from plait.errors import DataError, and_more, setting
from plait.files import replacing
from plait.progress import bar

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 3  # of the cached tables; a new number leaves the old ones unread
BATCH = 1000  # rows; with images inside, some tens of megabytes


@dataclass(frozen=True)
class Part:
    """One table of a source, opened but not read.

    Attributes:
        where: what to call it in a message.
        names: its columns.
        batches: given column names, yields record batches of these columns.
        root: what relative image paths start from.
        split: the split it is, if any.
        classes: names of the class numbers, by column.
        rows: how many there are, about; for the progress bar.
        folder: where there is no id column, ids are this and the image's path; None: ids are row numbers.
    """

    where: str
    names: tuple[str, ...]
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
    root: str = ""
    split: str | None = None
    classes: dict[str, list[str]] = field(default_factory=dict)
    rows: int = 0
    folder: str | None = None


def assemble(parts: Callable[[], list[Part]], columns: Columns, source: str, key: Any = None) -> Pairs:
    """Write the parts, in their order, as one table of pairs.

    Args:
        parts: opens the parts; not called where the table is in the cache.
        columns: the user's names for the columns.
        source: what to call the whole in a message.
        key: JSON-able; all that the table depends on. None: keep the table in memory.

    Raises DataError as `resolve` and the casts do, for an id that is missing or in two rows, and where one part has
    images or texts and another has no column of them.
    """
    from datasets import Dataset

    if key is None:
        table = _unique(lambda naming: _in_memory(parts(), columns, source, naming), source)
        return _pairs(Dataset(table), table.schema.metadata, source, columns)
    file = cache_folder() / f"{content_hash(json.dumps([FORMAT, repr(columns), key]).encode()).hex()}.arrow"
    if not file.exists():
        _write_file(file, parts(), columns, source)
    with open_stream(file) as stream:
        metadata = stream.schema.metadata
    return _pairs(Dataset.from_file(str(file)), metadata, source, columns)


def cache_folder() -> Path:
    """The folder for tables read before, made if need be. Raises DataError where it cannot be written."""
    from datasets import config

    folder = Path(config.HF_DATASETS_CACHE) / "plait"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write the cache {folder} ({error.strerror}); set HF_HOME to a folder of yours"
        ) from error
    return folder


def open_stream(file: Path) -> Any:
    """Reader of a cached Arrow file, memory-mapped."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(file)))


def _write_file(file: Path, parts: list[Part], columns: Columns, source: str) -> None:
    import pyarrow as pa

    try:
        with replacing(file) as name:
            choices = _choices(parts, columns)

            def write(naming: str) -> pa.Table:
                with pa.ipc.new_stream(str(name), _schema(parts, choices)) as sink:
                    for batch in _convert_all(parts, choices, source, naming):
                        sink.write_batch(batch)
                with open_stream(name) as stream:
                    return stream.read_all()

            _unique(write, source)
    except OSError as error:
        raise DataError(f"{source}: cannot be copied into the cache {file.parent}: {error}") from error


def _in_memory(parts: list[Part], columns: Columns, source: str, naming: str) -> pa.Table:
    import pyarrow as pa

    choices = _choices(parts, columns)
    batches = list(_convert_all(parts, choices, source, naming))
    return pa.Table.from_batches(batches, _schema(parts, choices))


def _schema(parts: list[Part], choices: list[dict[str, str]]) -> pa.Schema:
    """Of the table, with what `Pairs` says of its source in the metadata."""
    from datasets import Features, Value

    text = Value("string")
    kept = dict.fromkeys(_kept(choices[0]), text)
    schema = Features({**features(), GROUP: text, "split": text, **kept}).arrow_schema
    names = list(dict.fromkeys(name for part in parts for name in part.names))
    taken: dict[str, str] = {}
    for choice in choices:
        taken = {**choice, **taken}
    used = {name for choice in choices for name in choice.values()}
    roots = {part.root if part.folder is None else "" for part in parts}
    facts = {
        "columns": names,
        "taken": taken,
        "ignored": [name for name in names if name not in used],
        "root": roots.pop() if len(roots) == 1 else "",
    }
    return schema.with_metadata({**schema.metadata, b"plait": json.dumps(facts).encode()})


def _choices(parts: list[Part], columns: Columns) -> list[dict[str, str]]:
    """The columns of each part, those of an earlier one before a guess.

    A test split often has no labels, so the label may be absent from some parts; an image or a text may not.
    """
    labelled = any(columns.label in part.names for part in parts)
    choices: list[dict[str, str]] = []
    for part in parts:
        absent = labelled and columns.label not in part.names
        choice = resolve(replace(columns, label=None) if absent else columns, part.names, part.where)
        if absent:
            choice.pop("label", None)
        choices.append(choice)
        columns = replace(columns, known=tuple(dict.fromkeys((*columns.known, *choice.items()))))
    _require_even(parts, choices)
    return choices


def _require_even(parts: list[Part], choices: list[dict[str, str]]) -> None:
    """Raise DataError where one part has images or texts and another has no column of them."""
    for role in MODALITIES:
        there = [(part, choice[role]) for part, choice in zip(parts, choices, strict=True) if role in choice]
        lacking = [part for part, choice in zip(parts, choices, strict=True) if role not in choice]
        if there and lacking:
            names = and_more([name for name in lacking[0].names if name], 12)
            raise DataError(
                f"{lacking[0].where}: no {role} column, where {there[0][0].where} has '{there[0][1]}' "
                f"(columns: {names}); add that column, which may be empty, or say that there is none at all with "
                f"{setting(f'data.{role}={NONE}')}"
            )


def _convert_all(
    parts: list[Part], choices: list[dict[str, str]], source: str, naming: str
) -> Iterator[pa.RecordBatch]:
    start = 0
    with bar(f"reading {Path(source).name}", sum(part.rows for part in parts)) as advance:
        for part, choice in zip(parts, choices, strict=True):
            for batch in part.batches(list(dict.fromkeys(choice.values()))):
                yield _convert(batch, part, choice, start, naming)
                start += batch.num_rows
                advance(batch.num_rows)


def _convert(batch: pa.RecordBatch, part: Part, choice: dict[str, str], start: int, naming: str) -> pa.RecordBatch:
    import pyarrow as pa
    import pyarrow.compute as pc

    out: dict[str, pa.Array] = {}
    for role in ("id", "text", "label", GROUP, "split", *_kept(choice)):
        name = choice.get(role)
        if name is None:
            out[role] = pa.nulls(batch.num_rows, pa.string())
        else:
            cast = label_array if role == "label" else text_array
            out[role] = cast(batch.column(name), f"{part.where}: column '{name}'", part.classes.get(name))
    if "image" in choice:
        image, what = batch.column(choice["image"]), f"{part.where}: column '{choice['image']}'"
        out["image"] = image_array(image, what, part.root)
    else:
        out["image"] = pa.nulls(batch.num_rows, features().arrow_schema.field("image").type)
    if part.split is not None:
        out["split"] = pa.array([part.split] * batch.num_rows, pa.string())
    rows = pa.array(range(start, start + batch.num_rows)).cast(pa.string())
    if "id" in choice:
        _require_ids(out["id"], f"{part.where}: column '{choice['id']}'", start)
    elif part.folder is not None and naming != "rows":
        name = text_array(batch.column(choice["image"]), part.where)
        out["id"] = pc.coalesce(pc.binary_join_element_wise(pa.scalar(part.folder), name, ""), rows)
    else:
        out["id"] = rows
    if naming == "split" and "id" in choice:
        out["id"] = pc.binary_join_element_wise(pc.fill_null(out["split"], "none"), out["id"], "/")
    names = [*COLUMNS, GROUP, "split", *_kept(choice)]
    return pa.RecordBatch.from_arrays([out[name] for name in names], schema=_schema([part], [choice]))


def _kept(choice: dict[str, str]) -> list[str]:
    return [role for role in choice if role.startswith(KEPT)]


def _require_ids(ids: pa.Array, what: str, start: int) -> None:
    if ids.null_count:
        row = start + int(np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{what} has no id in row {row}, counting from 0; fill it in, or name another: data.id=COLUMN")


def _unique(write: Callable[[str], pa.Table], source: str) -> pa.Table:
    """Write the table; where ids collide across splits put the split before them, across captions number the rows."""
    import pyarrow.compute as pc

    table = write("plain")
    if pc.count_distinct(table["id"]).as_py() == table.num_rows:
        return table
    for naming in ("split", "rows"):
        renamed = write(naming)
        if pc.count_distinct(renamed["id"]).as_py() == renamed.num_rows:
            return renamed
    counts = pc.value_counts(table["id"])
    twice = next(count["values"].as_py() for count in counts if count["counts"].as_py() > 1)
    first, second = np.flatnonzero(pc.equal(table["id"], twice).to_numpy())[:2]
    raise DataError(
        f"{source}: id '{twice}' is in rows {first} and {second}, counting from 0; "
        f"make ids unique, or rename that column to have rows numbered, or name another "
        f"with {setting('data.id=COLUMN')}"
    )


def _pairs(table: Any, metadata: dict[bytes, bytes], source: str, columns: Columns) -> Pairs:
    import pyarrow.compute as pc

    column = table.data.column("split")
    names: dict[str, list[str]] = {}
    for name in pc.unique(column.drop_null()).to_pylist():
        names.setdefault(split_name(name), []).append(name)
    splits = {}
    for name in sorted(names, key=split_order):
        inside = [pc.fill_null(pc.equal(column, raw), False).to_numpy() for raw in names[name]]
        splits[name] = np.flatnonzero(np.logical_or.reduce(inside)).astype(np.int64)
    facts = json.loads(metadata[b"plait"])
    wanted = [*COLUMNS, *([GROUP] if columns.group is not None else []), *(f"{KEPT}{name}" for name in columns.kept)]
    return Pairs(
        table.select_columns(wanted), source, splits, tuple(facts["columns"]),
        taken=facts["taken"], ignored=tuple(facts["ignored"]), root=facts["root"],
    )  # fmt: skip
