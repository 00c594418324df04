"""``plait tune joint``, ``plait index`` and ``plait find`` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import plait
from plait.report.write import write_pairs
from toys import Run, picture


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("find") / "dishes.parquet"
    write_pairs(plait.draw(rows=96, seed=2, size=32), file)
    frame = pd.read_parquet(file)
    frame["price"] = range(len(frame))
    frame.to_parquet(file)
    return file


@pytest.fixture(scope="module")
def index(table: Path, quick: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from plait.config import configure
    from plait.pipeline.classifier import Classifier

    folder = tmp_path_factory.mktemp("find-run")
    Classifier(configure(overrides=quick[1::2])).fit(table).save(folder / "run")
    plait.Index.build(folder / "run", table, folder / "index", keep=["price"])
    return folder / "index"


def test_tune_joint_index_find(run: Run, table: Path, quick: list[str], tmp_path: Path) -> None:
    space, index = tmp_path / "space", tmp_path / "index"
    small = [part for one in ("space.epochs=2", "space.dim=16", "space.batch=32") for part in ("--set", one)]
    code, printed, err = run("tune", "joint", table, "--out", space, *quick, *small)
    assert (code, printed) == (0, f"{space}\n"), err
    assert " rows, 2 epochs, " in err
    assert "own   image to text " in err
    code, printed, err = run("index", space, table, "--out", index, "--keep", "price")
    assert (code, printed) == (0, f"{index}\n"), err
    assert "index: 96 rows, searched exactly" in err
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(3))
    query = ("--image", photo, "--text", "ramen", "--where", "price < 2")
    code, printed, err = run("find", index, *query, "-k", 3, "--json")
    assert code == 0, err
    found = [json.loads(line) for line in printed.splitlines()]
    assert {one["price"] for one in found} == {0.0, 1.0}
    assert "2 of the 3 asked for: there are no more" in err


def test_the_table(run: Run, index: Path) -> None:
    code, printed, _ = run("find", index, "--text", "ramen", "-k", 2)
    assert code == 0
    lines = [line for line in printed.splitlines() if line.strip()]
    assert lines[0].split() == ["id", "score", "label", "text", "price"]
    assert len(lines) == 4  # with the rule below the head


def test_rows_come_and_go(run: Run, index: Path, table: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.parquet"
    frame = pd.read_parquet(table).head(2)
    frame["id"] = ["new 1", "new 2"]
    frame.to_parquet(more)
    folder = index.parent / "run"
    code, printed, err = run("index", folder, more, "--out", index, "--add")
    assert (code, printed) == (0, f"{index}\n"), err
    assert "2 rows added" in err
    assert len(plait.Index.open(index)) == 98
    code, _, err = run("index", folder, more, "--out", index, "--delete")
    assert code == 0, err
    assert "2 rows deleted" in err
    assert len(plait.Index.open(index)) == 96
    code, _, err = run("index", folder, more, "--out", index, "--delete")
    assert (code, err.splitlines()[-1]) == (
        2, "error: the index has no row of id 'new 1' (2 such ids); give ids it has"
    )  # fmt: skip


def test_mistakes(run: Run, index: Path, table: Path, tmp_path: Path) -> None:
    folder = index.parent / "run"

    def mistake(*arguments: object) -> str:
        code, _, err = run(*arguments)
        assert code == 2
        return err.splitlines()[-1]

    assert mistake("find", index) == (
        "error: the query has neither an image nor a text; give --image FILE, --text TEXT or both"
    )
    assert mistake("find", index, "--image", tmp_path / "gone.jpg") == (
        f"error: --image '{tmp_path / 'gone.jpg'}' cannot be read (no such file); give another file, or --text alone"
    )
    assert mistake("find", index, "--text", "x", "--where", "prize < 3") == (
        "error: --where: the index has no column 'prize'; keep it with --keep when it is built. Did you mean 'price'?"
    )
    assert mistake("find", index, "--text", "x", "--where", "price < 0") == (
        "error: --where 'price < 0' leaves none of the 96 rows; ask for less"
    )
    assert mistake("find", index, "--text", "x", "-k", 0) == "error: -k 0: ask for 1 row or more"
    assert mistake("find", tmp_path, "--text", "x") == (
        f"error: '{tmp_path}' is no index; give a folder written by plait index"
    )
    assert mistake("index", folder, table, "--out", tmp_path / "new", "--keep", "prize") == (
        f"error: {table}: no column 'prize' to keep. Did you mean 'price'?"
    )
    assert mistake("index", folder, table, "--out", index) == (
        f"error: --out '{index}' is not empty; choose another folder, or replace it with --overwrite"
    )
    assert mistake("index", folder, table, "--out", index, "--add", "--delete") == (
        "error: give --add or --delete, not both"
    )
    assert mistake("index", folder, table, "--out", tmp_path / "new", "--kind", "flat") == (
        "error: no kind of index 'flat'. Did you mean 'ivf_flat'?"
    )
    assert len(plait.Index.open(index)) == 96
