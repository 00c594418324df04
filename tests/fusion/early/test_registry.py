"""An early head is a file: its name is what ``head.early`` takes, its `Head` all that the others need to know."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.config import configure
from plait.errors import ConfigError
from plait.fusion import early
from plait.fusion.early import EARLY, EarlyHead


def test_every_file_is_a_head_of_its_name() -> None:
    folder = Path(early.__file__).parent
    assert set(EARLY) == {file.stem for file in folder.glob("*.py")} - {"__init__", "base"}
    assert {"mlp", "towers", "huse"} <= set(EARLY)
    for name, head in EARLY.items():
        assert issubclass(head, EarlyHead)
        assert head.__module__ == f"plait.fusion.early.{name}"
        assert head.note
        assert configure(overrides=[f"head.early={name}"]).head.early == name


def test_an_unknown_head_is_told_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^head\.early: no early head 'tower'\. Did you mean 'towers'\?$"):
        configure(overrides=["head.early=tower"])
