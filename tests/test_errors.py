"""Messages name parameters in Python and flags on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import plait
from plait.errors import DataError, RunError, option, setting, spoken_by_flags
from plait.files import require_free


def test_a_key_and_an_option_are_named_for_who_reads_them() -> None:
    def both() -> tuple[str, str, str]:
        return setting("data.text=COLUMN"), setting("a=1", "b=2"), option("--allow-seen", "allow_seen=True")

    assert both() == ("data.text=COLUMN", "a=1 and b=2", "allow_seen=True")
    with spoken_by_flags():
        assert both() == ("--set data.text=COLUMN", "--set a=1 --set b=2", "--allow-seen")
    with pytest.raises(ValueError), spoken_by_flags():
        raise ValueError
    assert both()[0] == "data.text=COLUMN"


def test_the_same_mistake_in_python_and_on_the_command_line(run: object, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("id,photo,title\n1,a.jpg,soup\n", "utf-8")
    with pytest.raises(DataError, match=r"; name it with data\.label=COLUMN$"):
        plait.compare(table)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine", "utf-8")
    in_the_way = "is not empty; choose another folder, or replace it with"
    with pytest.raises(RunError, match=rf"^folder '.*' {in_the_way} overwrite=True$"):
        require_free(tmp_path / "out")
    code, _, err = run("compare", table, "--out", tmp_path / "c")  # type: ignore[operator]
    assert (code, err.splitlines()[-1].rpartition("; ")[2]) == (2, "name it with --set data.label=COLUMN")
    code, _, err = run("fit", table, "--out", tmp_path / "out")  # type: ignore[operator]
    assert code == 2
    assert err == f"error: --out '{tmp_path / 'out'}' {in_the_way} --overwrite\n"
