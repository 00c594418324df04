"""What the tests of reading share."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.data.pairs import Pairs
from plait.data.read import read
from plait.errors import DataError


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="")
    return path


def paths(pairs: Pairs) -> list[str | None]:
    return [None if ref is None else ref.path for ref in pairs.images()]


def fails(source: object, **given: object) -> str:
    with pytest.raises(DataError) as caught:
        read(source, **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)
