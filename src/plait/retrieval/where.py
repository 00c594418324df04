"""Filters of a search: comparisons of columns with values, joined by ``and``, and nothing else.

What a user or a request writes is taken apart here, and only checked column names and quoted values go on to the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from plait.errors import DataError, did_you_mean, option

MOST = 1000  # characters
_COLUMN = r"""(?:"[^"]+"|[^\s=<>!"']+)"""
_VALUE = r"""(?:'(?:[^']|'')*'|"[^"]*"|[^\s'"=<>!](?:[^'"=<>!]*?[^\s'"=<>!])?)"""
_ONE = re.compile(rf"\s*({_COLUMN})\s*(!=|<=|>=|=|<|>)\s*({_VALUE})\s*", re.DOTALL)
_AND = re.compile(r"\band\b", re.IGNORECASE)
SHAPE = """write COLUMN = VALUE, with =, !=, <, <=, > or >=; several joined by 'and', values with spaces in quotes"""


@dataclass(frozen=True)
class Column:
    """A column that can be asked for: its name in the table, and whether it holds numbers."""

    name: str
    number: bool = False


def sql(where: str, columns: Mapping[str, Column]) -> str:
    """A filter as the table takes it.

    Args:
        where: ``label = soup and price < 5``.
        columns: what may be asked for, by the name a user knows.

    Raises:
        DataError: it is no such comparison, has a column that the index has not, or no number where one is due.
    """
    called = option("--where", "where")
    if len(where) > MOST:
        raise DataError(f"{called} has {len(where):,} characters, more than {MOST:,}; shorten it")
    parts: list[str] = []
    rest: str | None = where
    while rest is not None:
        match, rest = _first(rest)
        if match is None:
            raise DataError(f"{called} '{where}' is no comparison; {SHAPE}")
        parts.append(_comparison(match, columns, called))
    return " AND ".join(parts)


def _first(text: str) -> tuple[re.Match[str] | None, str | None]:
    """The first comparison of a text, and what follows its ``and``, None at the end."""
    for found in _AND.finditer(text):
        if match := _ONE.fullmatch(text, 0, found.start()):
            return match, text[found.end() :]
    return _ONE.fullmatch(text), None


def _comparison(match: re.Match[str], columns: Mapping[str, Column], called: str) -> str:
    name, sign, value = (part for part in match.groups())
    name = name.strip('"')
    if name not in columns:
        raise DataError(
            f"{called}: the index has no column '{name}'; keep it with {option('--keep', 'keep')} when it is built."
            f"{did_you_mean(name, columns)}"
        )
    column = columns[name]
    plain = value[1:-1].replace("''", "'") if value[0] == "'" else value.strip('"')
    if not column.number:
        quoted = plain.replace("'", "''")
        return f"{column.name} {sign} '{quoted}'"
    try:
        number = float(plain)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise DataError(f"{called}: column '{name}' holds numbers and '{plain}' is none; compare it with a number")
    return f"{column.name} {sign} {number!r}"
