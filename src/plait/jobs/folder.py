"""Where a job writes: a folder, here or in object storage, of one Parquet file for each range of rows.

A file's name says its rows and the run that made it, and a file is there whole or not at all. So a job that was stopped
goes on where it was, and two workers that were given one range leave one file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import RunError, option
from plait.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

JOB = "_job.json"  # readers of Parquet folders pass over names with an underscore
FORMAT = 1
RANGE_ROWS = 4096
_PART = re.compile(r"rows-(\d+)-(\d+)-([0-9a-f]{8})\.parquet")


@dataclass(frozen=True, order=True)
class Range:
    """Rows ``start`` to ``stop``, that one excluded, counting from 0."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def ranges(rows: int, size: int) -> list[Range]:
    """All the rows, `size` at a time."""
    return [Range(start, min(start + size, rows)) for start in range(0, rows, size)]


@dataclass(frozen=True)
class JobFolder:
    """The folder of one job.

    Attributes:
        url: a folder or a URL of fsspec's, such as ``s3://bucket/labels``.
    """

    url: str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system and the path in it. Raises RunError where there is no such file system."""
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(self.url)
        except Exception as error:  # each file system of fsspec raises its own
            raise self._error(error) from error
        return system, path.rstrip("/")

    @property
    def local(self) -> Path | None:
        """The folder on this machine, where it is one."""
        system, path = self._place
        return Path(path) if "file" in (system.protocol, *system.protocol) else None

    def claim(self, facts: dict[str, Any], overwrite: bool = False) -> dict[str, Any]:
        """Make the folder this job's, or find it to be so already.

        Args:
            facts: what makes two jobs one; `range_rows` may be None for that of the job that is there, or `RANGE_ROWS`.

        Returns:
            The facts of the job in the folder.

        Raises:
            RunError: another job is there, or other files are; or the folder cannot be written.
        """
        names = self._names()
        if overwrite:
            self._remove([name for name in names if name == JOB or _PART.fullmatch(name)])
            names = []
        held = self._read_job() if JOB in names else None
        if held is None:
            if [name for name in names if not name.startswith(".")]:
                raise RunError(f"{self} is not empty and holds no job; choose another folder")
            facts = {name: RANGE_ROWS if name == "range_rows" and not value else value for name, value in facts.items()}
            self._write(JOB, json.dumps({"format": FORMAT, **facts}, indent=1).encode() + b"\n")
            return facts
        for name, value in facts.items():
            if value is not None and held.get(name) != value:
                raise RunError(
                    f"{self} holds another job: its {_WORDS[name]} is {held.get(name)!r}, not {value!r}; choose "
                    f"another folder, or replace it with {option('--overwrite', 'overwrite=True')}"
                )
        return held

    def done(self, fingerprint: str) -> list[Range]:
        """The ranges that are there, sorted."""
        found = (_PART.fullmatch(name) for name in self._names())
        return sorted(Range(int(m[1]), int(m[2])) for m in found if m and m[3] == fingerprint[:8])

    def write(self, part: Range, fingerprint: str, table: pa.Table) -> None:
        """Write one range in one piece. Raises RunError where it cannot be written."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._write(_name(part, fingerprint), sink.getvalue().to_pybytes())

    def read(self, part: Range, fingerprint: str, columns: list[str] | None = None) -> pa.Table:
        """One range. Raises RunError where its file is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        system, path = self._place
        name = _name(part, fingerprint)
        try:
            return pq.read_table(pa.BufferReader(system.cat_file(f"{path}/{name}")), columns=columns)
        except Exception as error:
            raise RunError(
                f"{self}: '{name}' is damaged ({_reason(error)}); delete that file and run the command again"
            ) from error

    def _read_job(self) -> dict[str, Any]:
        system, path = self._place
        try:
            held = json.loads(system.cat_file(f"{path}/{JOB}"))
            if held.pop("format") != FORMAT:
                raise RunError(f"{self} holds a job of another version of plait; choose another folder")
            return dict(held)
        except (ValueError, KeyError, AttributeError) as error:
            raise RunError(f"{self}: '{JOB}' is damaged; choose another folder") from error

    def _names(self) -> list[str]:
        system, path = self._place
        if (local := self.local) is not None and local.is_file():
            raise RunError(f"{self} is a file; give a folder")
        try:
            system.invalidate_cache()
            return sorted(str(name).rsplit("/", 1)[-1] for name in system.ls(path, detail=False) if name != path)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._error(error) from error

    def _write(self, name: str, content: bytes) -> None:
        system, path = self._place
        try:
            if (local := self.local) is not None:
                with replacing(local / name) as part:
                    part.write_bytes(content)
            else:
                system.pipe_file(f"{path}/{name}", content)
        except Exception as error:
            raise self._error(error) from error

    def _remove(self, names: list[str]) -> None:
        system, path = self._place
        for name in names:
            system.rm_file(f"{path}/{name}")

    def _error(self, error: Exception) -> RunError:
        return RunError(f"{self} cannot be used ({_reason(error)}); mend that, or choose another folder")

    def __str__(self) -> str:
        return f"{option('--out', 'folder')} '{self.url}'"


_WORDS = {
    "what": "verb", "run": "run", "data": "data", "rows": "number of rows", "range_rows": "number of rows a range",
    "explain": "setting of explain",
}  # fmt: skip


def _name(part: Range, fingerprint: str) -> str:
    return f"rows-{part.start:012d}-{part.stop:012d}-{fingerprint[:8]}.parquet"


def _reason(error: Exception) -> str:
    """The first line of what a file system says; a bucket without permission says so in its own way."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:160]


def missing(whole: list[Range], done: list[Range]) -> Iterator[Range]:
    """The ranges that are not done."""
    there = set(done)
    return (part for part in whole if part not in there)
