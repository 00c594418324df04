"""Table files, opened as parts: CSV, TSV, JSON lines (also gzipped) and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from plait.data.formats.parts import BATCH, Part
from plait.data.images import as_image
from plait.errors import DataError
from plait.progress import say

if TYPE_CHECKING:
    import pyarrow as pa

Record = tuple[int, list[str], int]  # number of its first line, its fields, how many lines it takes

OPENERS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".parquet": "parquet"}


def table_suffix(name: str) -> str:
    """The suffix that says how to read the file, without ``.gz``; empty where it is no table."""
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    return suffix if suffix in OPENERS else ""


def open_file(path: Path, where: str, root: str, split: str | None = None, folder: str | None = None) -> Part:
    """Open one table file; `where` is what to call it. The other arguments are those of `Part`.

    Raises DataError where it is empty or its columns cannot be read.
    """
    kind = OPENERS[table_suffix(path.name)]
    given: dict[str, Any] = {"where": where, "root": root, "split": split, "folder": folder}
    if kind == "parquet":
        return _parquet(path, given)
    if kind == "json":
        return _json(path, given)
    return _csv(path, given, "\t" if kind == "tsv" else ",")


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _count_lines(path: Path) -> int:
    with _open(path) as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _lines(path: Path, where: str) -> Iterator[str]:
    """Lines with their ends. Only a newline ends a line: titles may hold the rarer separators of Unicode."""
    with _open(path) as file:
        for number, raw in enumerate(file, 1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{where}, line {number}: not UTF-8; save the file as UTF-8") from error


def _parquet(path: Path, given: dict[str, Any]) -> Part:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{given['where']}: not a whole Parquet file ({str(error).splitlines()[0]})") from error
    about = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
    kinds = (about.get("info") or {}).get("features") or {}
    classes = {name: kind["names"] for name, kind in kinds.items() if isinstance(kind, dict) and "names" in kind}

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            yield from file.iter_batches(BATCH, columns=names)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{given['where']}: damaged Parquet file ({str(error).splitlines()[0]})") from error

    names = tuple(file.schema_arrow.names)
    return Part(names=names, batches=batches, classes=classes, rows=file.metadata.num_rows, **given)


def _csv(path: Path, given: dict[str, Any], delimiter: str) -> Part:
    where = given["where"]
    first = next((line for line in _lines(path, where) if line.strip()), "")
    if not first:
        raise DataError(f"{where}: the file is empty; give a table whose first line names its columns")
    if delimiter == "," and "," not in first and first.count(";"):
        delimiter = ";"  # how spreadsheets write CSV where the comma is the decimal sign
    quoting: Any = csv.QUOTE_MINIMAL
    if delimiter == "\t" and not _well_quoted(path, where):
        quoting = csv.QUOTE_NONE
    records = partial(_records, path, where, delimiter, quoting)
    names = tuple(name.strip() for name in next(iter(records()))[1])
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}, line 1: column '{twice}' is there twice; rename one")

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        places = [names.index(name) for name in wanted]
        rows = ([fields[place] for place in places] for fields in _checked(records(), len(names), where))
        return _string_batches(rows, wanted)

    return Part(names=names, batches=batches, rows=_count_lines(path), **given)


def _records(path: Path, where: str, delimiter: str, quoting: Any) -> Iterator[Record]:
    """Parse strictly: a stray quote is an error, since a lenient parser would swallow the rows up to the next one."""
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        for line in _lines(path, where):
            taken += 1
            yield line

    csv.field_size_limit(1 << 30)  # the default refuses a text above 128 KiB
    reader = csv.reader(lines(), delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        before = taken
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            remedy = "double each quote inside a quoted field, and quote a field that holds a newline"
            raise DataError(f"{where}, line {before + 1}: malformed row ({error}); {remedy}") from error
        if fields:
            yield before + 1, fields, taken - before


def _checked(records: Iterable[Record], expected: int, where: str) -> Iterator[list[str]]:
    """The fields of the rows under the header. Raises DataError for a row of another length."""
    tall: list[int] = []
    for number, (line, fields, lines) in enumerate(records):
        if number == 0:
            continue
        if len(fields) != expected:
            raise DataError(
                f"{where}, line {line}: {len(fields)} fields where the header has {expected}; "
                "put quotes around a field that holds the separator or a newline"
            )
        if lines > 1 and _may_be_rows(fields, expected, lines):
            tall.append(line)
        yield fields
    if tall:
        say(
            f"{where}: quoted rows that span lines like rows of their own: {len(tall)}, the first on line {tall[0]}; "
            "look for a stray quote there"
        )


def _may_be_rows(fields: list[str], expected: int, lines: int) -> bool:
    """Whether a field holds a row's worth of separators for every newline: rows joined by stray quotes."""
    most = max(field.count(mark) for field in fields if "\n" in field for mark in ",;\t")
    return most >= (lines - 1) * max(expected - 1, 1)


def _well_quoted(path: Path, where: str) -> bool:
    """Whether quotes in a TSV quote; many hold them as plain marks, and then each line is a row."""
    expected = None
    try:
        for _, fields, _ in _records(path, where, "\t", csv.QUOTE_MINIMAL):
            expected = expected or len(fields)
            if len(fields) != expected or any("\n" in field and "\t" in field for field in fields):
                return False
    except DataError:
        return False
    return True


def _json(path: Path, given: dict[str, Any]) -> Part:
    where = given["where"]
    names: dict[str, None] = {}
    rows = 0
    for _, record in _objects(path, where):
        names.update(dict.fromkeys(record))
        rows += 1
    if not rows:
        raise DataError(f"{where}: the file is empty; give one JSON object a line")

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        def values() -> Iterator[list[Any]]:
            for line, record in _objects(path, where):
                yield [_scalar(record.get(name), f"{where}, line {line}: '{name}'") for name in wanted]

        return _string_batches(values(), wanted)

    return Part(names=tuple(names), batches=batches, rows=rows, **given)


def _objects(path: Path, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = _lines(path, where)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if number == 1 and line.lstrip().startswith("["):  # one JSON array of objects
                found = json.loads(line + "".join(lines))
            else:
                found = [json.loads(line)]
        except json.JSONDecodeError as error:
            raise DataError(f"{where}, line {number}: not JSON ({error}); give one JSON object a line") from error
        for place, record in enumerate(found):
            if not isinstance(record, dict):
                raise DataError(f"{where}, line {number}: {type(record).__name__} where a JSON object is needed")
            yield number + place, record


def _scalar(value: Any, what: str) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and {"bytes", "path"} & set(value):
        return as_image({"bytes": None, "path": value.get("path")})
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value.is_integer() else str(value)
    raise DataError(f"{what} is a {type(value).__name__}, not a text, a number or null")


def _string_batches(rows: Iterable[list[Any]], names: list[str]) -> Iterator[pa.RecordBatch]:
    batch: list[list[Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield _string_batch(batch, names)
            batch = []
    if batch:
        yield _string_batch(batch, names)


def _string_batch(rows: list[list[Any]], names: list[str]) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = []
    for values in zip(*rows, strict=True):
        if any(isinstance(value, dict) for value in values):
            values = tuple(as_image(value) for value in values)
            arrays.append(pa.array(values, pa.struct({"bytes": pa.binary(), "path": pa.string()})))
        else:
            arrays.append(pa.array(values, pa.string()))
    return pa.RecordBatch.from_arrays(arrays, names=names)
