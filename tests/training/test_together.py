"""Training in two processes, joined by gloo, against training in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plait.processes import LOST
from plait.training.encoders.images import Draws, Numbers, batches, only_rows
from plait.training.encoders.text_batches import at_random, in_order, shared
from toys import make_image_folder, make_text_folder, picture

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
TORCHRUN += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one process finds, and what two do."""
    from together import work

    folder = tmp_path_factory.mktemp("together")
    make_image_folder(folder / "image")
    make_text_folder(folder / "text")
    command = [*TORCHRUN, str(HERE / "together.py"), str(folder)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as two:
        one = work(folder)
        _, err = two.communicate(timeout=400)
    assert two.returncode == 0, err[-3000:]
    return one, json.loads((folder / "found.json").read_text())


@pytest.mark.slow
def test_all_processes_have_the_same_weights(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert all(part["same"] for part in found[1].values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "disk", "mlp"])
def test_heads(found: tuple[dict[str, Any], dict[str, Any]], kind: str) -> None:
    one, two = found[0][kind], found[1][kind]
    for model, share in one["accuracy"].items():
        assert two["accuracy"][model] == pytest.approx(share, abs=0.02)
    if kind != "mlp":  # the optimum is one
        np.testing.assert_allclose(two["text"], one["text"], atol=5e-3)


@pytest.mark.slow
def test_each_input_is_encoded_by_one_process_and_read_by_all(
    found: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    one, two = found[0]["encoded"], found[1]["encoded"]
    assert two["tables"] == one["tables"] == [41, 41]
    shares = np.array(two["shares"])
    assert shares.sum(0).tolist() == [41, 41]
    assert shares.min() > 5
    for modality in ("image", "text"):
        np.testing.assert_allclose(two[modality], one[modality], atol=1e-5)


@pytest.mark.slow
def test_equal_metrics_of_equal_weights(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Of 33 validation rows, in batches that two do not share evenly, each counts once."""
    for one, two in zip(found[0]["still"]["curve"], found[1]["still"]["curve"], strict=True):
        assert round(two["val_loss"], 4) == round(one["val_loss"], 4)
        assert two["val_accuracy"] == pytest.approx(one["val_accuracy"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["image", "text"])
def test_tuned_encoders_end_alike(found: tuple[dict[str, Any], dict[str, Any]], what: str) -> None:
    one, two = (found[i][what]["curve"] for i in (0, 1))
    assert len(one) == len(two)
    assert min(e["val_loss"] for e in two) == pytest.approx(min(e["val_loss"] for e in one), rel=0.15)


def as_process(monkeypatch: pytest.MonkeyPatch, rank: int, of: int) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("RANK", rank), ("WORLD_SIZE", of)):
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("rows", [29, 32, 100, 103])
@pytest.mark.parametrize("processes", [2, 3])
def test_each_row_is_seen_once_an_epoch(monkeypatch: pytest.MonkeyPatch, rows: int, processes: int) -> None:
    lengths = np.random.default_rng(0).integers(3, 30, rows).tolist()
    seen: dict[str, list[list[list[int]]]] = {"train": [], "val": [], "text": [], "text val": []}
    for rank in range(processes):
        as_process(monkeypatch, rank, processes)
        draws = Draws(np.arange(rows), torch.zeros(rows, dtype=torch.int64), 5)
        seen["train"].append([part[0].tolist() for part in batches(Numbers(rows), draws, 25, 0, only_rows, True)])
        seen["val"].append([part[0].tolist() for part in batches(Numbers(rows), range(rows), 8, 0, only_rows, False)])
        seen["text"].append(shared(at_random(lengths, 8, torch.Generator().manual_seed(0))))
        seen["text val"].append(shared(in_order(lengths, 8)))
    for kind, found in seen.items():
        assert len({len(one) for one in found}) == 1, kind  # as many steps in every process
        flat = sorted(row for one in found for batch in one for row in batch)
        left_out = rows % 25 if kind == "train" and rows % 25 < 8 * processes else 0
        assert len(flat) == len(set(flat)) == rows - left_out, kind
        if "val" not in kind:
            assert all(batch for one in found for batch in one)


CONFIG = ("image.size=32", "image.workers=0", "image.train.epochs=60", "image.train.batch=16", "device=cpu")


def command(folder: Path, *more: str) -> list[str]:
    sets = [word for key in (*CONFIG, *more) for word in ("--set", key)]
    model = ["--set", f"image.model=local-dir:{folder / 'image'}", "--set", f"store={folder / 'store'}"]
    return ["-m", "plait", "tune", "image", str(folder / "rows.csv"), "--out", str(folder / "out"), *model, *sets]


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_one_alone_goes_on(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "image")
    lines = ["image,label"]
    for i in range(80):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
        lines.append(f"{i}.png,{'ab'[i % 2]}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    checkpoint = tmp_path / ".out.training" / "last.ckpt"
    with (tmp_path / "log").open("w") as log:
        two = subprocess.Popen([*TORCHRUN, *command(tmp_path)], env=environment(), stderr=log, stdout=log)
        try:
            end = time.monotonic() + 200
            while not checkpoint.is_file():
                assert two.poll() is None, (tmp_path / "log").read_text()[-2000:]
                assert time.monotonic() < end, "no checkpoint"
                time.sleep(0.05)
            children = subprocess.run(["pgrep", "-P", str(two.pid)], capture_output=True, text=True).stdout.split()
            os.kill(int(children[-1]), signal.SIGKILL)
            assert two.wait(timeout=60) != 0
        finally:
            two.kill()
    assert f"error: {LOST}" in (tmp_path / "log").read_text()
    assert not (tmp_path / "out").exists()
    again = subprocess.run(
        [sys.executable, *command(tmp_path)],
        env=environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr[-2000:]
    assert "tune image encoder: goes on after epoch" in again.stderr
    assert (tmp_path / "out" / "tuning.json").is_file()


def test_other_commands_work_in_one_process(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    as_process(monkeypatch, 0, 2)
    code, _, err = run("predict", "nowhere", "rows.csv")
    assert code == 2
    assert err == "error: plait predict works in one process; start it without torchrun\n"
    code, _, err = run("tune", "static", "rows.csv", "--out", "out")
    assert code == 2
    assert err == "error: plait tune static works in one process; start it without torchrun\n"
