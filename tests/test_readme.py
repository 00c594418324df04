"""What the README shows must work as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from plait.cli import app
from plait.config import configure

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
LINES = [line.split(" # ")[0] for line in README.replace("\\\n", " ").splitlines() if line.startswith("plait ")]


def test_the_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    for shown, quick in (("rows=400", "rows=96"), ('"seed=1"', '"seed=1", "train.epochs=5"')):
        assert shown in block
        block = block.replace(shown, quick)
    names: dict[str, object] = {}
    exec(block, names)  # the README's own code
    assert len(names["labels"]) == 5  # type: ignore[arg-type]
    assert names["probabilities"].shape == (5, 16)  # type: ignore[attr-defined]
    assert names["same"].labels == names["classifier"].classes_.tolist()  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", LINES)
def test_each_command_line_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    context = command.make_context(words[0], words[1:])
    if overrides := context.params.get("set_"):
        configure(overrides=overrides)


def test_there_are_command_lines() -> None:
    assert len(LINES) >= 7
