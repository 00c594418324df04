"""Tables answered range by range in this process: the same answers, once each, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import plait
from plait.data.pairs import Pairs
from plait.errors import RunError
from plait.features.store import FeatureStore
from plait.inference.engine import Engine
from plait.jobs.folder import JobFolder, Range, ranges
from plait.jobs.run import run_job
from plait.jobs.work import Work
from plait.report.write import write_pairs
from toys import Run

COLUMNS = ["id", "label", "confidence", "top5", "problem"]


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.parquet"))


def answers(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(folder / name) for name in parts(folder)])


def test_ranges() -> None:
    assert ranges(10, 4) == [Range(0, 4), Range(4, 8), Range(8, 10)]
    assert ranges(0, 4) == []


def test_a_folder_of_the_answers_of_a_file(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    code, _, err = run("predict", fitted, table, "--out", tmp_path / "one.parquet", "--explain")
    assert code == 0, err
    code, printed, err = run("predict", fitted, table, "--out", f"{tmp_path}/many", "--range-rows", 30, "--explain")
    assert (code, printed) == (0, f"{tmp_path}/many\n"), err
    print_of = plait.load(fitted).fingerprint[:8]
    starts = [(0, 30), (30, 60), (60, 90), (90, 100)]
    assert parts(tmp_path / "many") == [f"rows-{a:012d}-{b:012d}-{print_of}.parquet" for a, b in starts]
    one, many = pq.read_table(tmp_path / "one.parquet"), answers(tmp_path / "many")
    assert many.column_names == [*COLUMNS[:-1], "effect_image", "effect_text", "problem"]
    assert many["id"].to_pylist() == one["id"].to_pylist() == plait.read(table).ids
    assert many["label"].to_pylist() == one["label"].to_pylist()
    np.testing.assert_allclose(many["confidence"].to_numpy(), one["confidence"].to_numpy(), atol=2e-5)
    assert many["problem"].null_count == 100
    # What other libraries make of the folder: one table, in the order of the rows.
    assert pq.read_table(tmp_path / "many")["id"].to_pylist() == one["id"].to_pylist()


def test_rerun_does_what_is_left_and_nothing_twice(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("predict", fitted, table, "--out", out)
    assert run(*command, "--range-rows", 30)[0] == 0
    before = answers(out)
    kept = {name: os.stat(out / name).st_mtime_ns for name in parts(out)}
    gone = parts(out)[1]
    (out / gone).unlink()
    code, _, err = run(*command)  # with the range size of the job that is there
    assert code == 0, err
    assert f"--out '{out}': 70 of 100 rows are there already" in err
    assert answers(out) == before
    assert {name for name in parts(out) if os.stat(out / name).st_mtime_ns != kept[name]} == {gone}
    code, _, err = run(*command)
    assert code == 0
    assert "100 of 100 rows are there already" in err


def test_killed_job_goes_on(run: Run, fitted: Path, tmp_path: Path) -> None:
    """A process that is killed leaves whole ranges, and the next one does the others."""
    table, out = tmp_path / "many.parquet", tmp_path / "out"
    pairs = plait.draw(rows=100, seed=2, size=32)
    write_pairs(pairs.select(np.tile(np.arange(100), 6)), tmp_path / "repeated.parquet")
    repeated = pq.read_table(tmp_path / "repeated.parquet")
    pq.write_table(repeated.set_column(0, "id", pa.array([f"r{i}" for i in range(600)])), table)
    command = [
        sys.executable,
        "-m",
        "plait",
        "predict",
        str(fitted),
        str(table),
        "--out",
        str(out),
        "--range-rows",
        "20",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (out.is_dir() and len(parts(out)) > 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = parts(out)
    assert 2 < len(there) < 30
    kept = {name: os.stat(out / name).st_mtime_ns for name in there}
    code, _, err = run(*command[3:])
    assert code == 0, err
    assert len(parts(out)) == 30
    assert {name: os.stat(out / name).st_mtime_ns for name in there} == kept
    assert answers(out)["id"].to_pylist() == [f"r{i}" for i in range(600)]


def test_unreadable_images_are_reported_in_their_rows(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    rows = plait.read(table)
    images = [rows[i]["image"]["bytes"] for i in range(40)]
    images[3], images[35] = b"no picture", images[35][:50]
    files = []
    for i, content in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(content)
        files.append(f"{i}.png")
    files[7] = "gone.png"
    data = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": [f"r{i}" for i in range(40)], "image": files, "text": rows.texts[:40]}), data)
    code, _, err = run("predict", fitted, data, "--out", tmp_path / "out", "--range-rows", 16)
    assert code == 0, err
    found = answers(tmp_path / "out")
    reasons = dict(zip(found["id"].to_pylist(), found["problem"].to_pylist(), strict=True))
    assert {key: reason for key, reason in reasons.items() if reason} == {
        "r3": "not an image", "r7": "no such file", "r35": reasons["r35"],
    }  # fmt: skip
    assert found["label"].null_count == 0  # answered by their texts
    assert "warning: 3 rows had problems, see their column 'problem': row 'r3': image" in err
    code, _, err = run("predict", fitted, data, "--out", tmp_path / "strict", "--range-rows", 16, "--strict")
    assert code == 2
    assert "row 'r3'" in err or "row 'r7'" in err
    # Most of them gone: said before any work is done.
    pq.write_table(pa.table({"image": ["none.png"] * 40, "text": rows.texts[:40]}), tmp_path / "none.parquet")
    code, _, err = run("predict", fitted, tmp_path / "none.parquet", "--out", tmp_path / "wrong")
    assert code == 2
    assert "40 of 40 images cannot be read" in err


def test_a_row_that_brings_the_encoders_down(
    fitted: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Engine.features
    texts = plait.read(table).texts

    def poisoned(self: Engine, pairs: Pairs, *rest: object) -> object:
        if bad & set(pairs.texts):
            raise RuntimeError("cannot digest\nthis text")
        return plain(self, pairs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "features", poisoned)
    bad = {texts[5], texts[61]}
    rows = [row for row, text in enumerate(texts) if text in bad]
    summary = run_job(Work(str(fitted), str(table), "predict", str(tmp_path / "out")), range_rows=30)
    assert summary.problems == len(rows)
    found = answers(tmp_path / "out").to_pylist()
    assert [row for row, one in enumerate(found) if one["label"] is None] == rows
    assert {found[row]["problem"] for row in rows} == {"RuntimeError: cannot digest this text"}
    bad = set(texts)
    with pytest.raises(
        RunError, match=r"^more than 16 rows cannot be answered, last '\w+': RuntimeError: cannot digest"
    ):
        run_job(Work(str(fitted), str(table), "predict", str(tmp_path / "all")))


def test_encode_to_a_folder_and_to_the_store(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    engine = plait.load(fitted)
    pairs = plait.read(table)
    wanted = engine.features(pairs)
    code, _, err = run("encode", fitted, table, "--out", tmp_path / "out", "--range-rows", 64)
    assert code == 0, err
    found = answers(tmp_path / "out")
    assert found.column_names == ["id", "image", "text", "problem"]
    for modality in ("image", "text"):
        vectors = np.stack(found[modality].to_pylist())
        np.testing.assert_allclose(vectors, wanted[modality].vectors, atol=1e-5)
    store = FeatureStore(tmp_path / "store")
    code, printed, err = run("encode", fitted, table, "--set", f"store={tmp_path / 'store'}")
    assert (code, printed) == (0, "all in the feature store\n"), err
    assert engine.features(pairs, store)["image"].encoded == 0


def _refused(run: Run, *arguments: object) -> str:
    code, printed, err = run(*arguments)
    assert (code, printed) == (2, "")
    return err.splitlines()[-1]


def test_mistakes(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command: Sequence[object] = ("predict", fitted, table, "--out", out)
    assert run(*command, "--range-rows", 50)[0] == 0
    another = "choose another folder, or replace it with --overwrite"
    assert _refused(run, *command, "--range-rows", 20) == (
        f"error: --out '{out}' holds another job: its number of rows a range is 50, not 20; {another}"
    )
    assert "its verb is 'predict', not 'encode'" in _refused(run, "encode", fitted, table, "--out", out)
    other = tmp_path / "other.parquet"
    write_pairs(plait.draw(rows=100, seed=3, size=32), other)
    assert "holds another job: its data is " in _refused(run, "predict", fitted, other, "--out", out)
    assert run("predict", fitted, other, "--out", out, "--overwrite")[0] == 0
    assert len(parts(out)) == 1
    for flag in ("--address", "--workers", "--gpus"):
        assert _refused(run, *command, flag, "1") == f"error: {flag} is for Ray's workers; add --engine ray"
    assert _refused(run, "predict", fitted, table, "--out", tmp_path / "a.csv", "--engine", "ray") == (
        "error: --engine ray is for DATA that is answered range by range; give DATA and --out FOLDER"
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "is not empty and holds no job" in _refused(run, "predict", fitted, table, "--out", tmp_path / "full")
    assert "no such run folder" in _refused(run, "predict", tmp_path / "none", table, "--out", tmp_path / "x")


def test_damaged_files_of_a_job(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("predict", fitted, table, "--out", out)
    assert run(*command, "--range-rows", 50)[0] == 0
    first, second = parts(out)
    (out / first).write_bytes((out / first).read_bytes()[:100])
    assert f"'{first}' is damaged" in _refused(run, *command)
    (out / first).write_bytes((out / second).read_bytes())
    assert "the file of rows 0-50 holds others; delete it" in _refused(run, *command)
    (out / "_job.json").write_text("{")
    assert "'_job.json' is damaged" in _refused(run, *command)


def test_a_full_disk(run: Run, fitted: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, plain = tmp_path / "out", Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if "rows-000000000060" in self.name:
            raise OSError(28, "No space left on device")
        return plain(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    command = ("predict", fitted, table, "--out", out)
    assert f"--out '{out}' cannot be used (No space left on device)" in _refused(run, *command, "--range-rows", 30)
    assert len(parts(out)) == 2
    monkeypatch.undo()
    assert run(*command)[0] == 0
    assert len(parts(out)) == 4


def test_job_file_is_json_and_hidden_from_readers(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    assert run("predict", fitted, table, "--out", tmp_path / "out")[0] == 0
    held = json.loads((tmp_path / "out" / "_job.json").read_text())
    assert (held["what"], held["rows"], held["range_rows"], held["format"]) == ("predict", 100, 4096, 1)
    assert JobFolder(str(tmp_path / "out")).local == tmp_path / "out"
