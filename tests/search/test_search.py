"""A search from rows to a network: kills, several processes, limits, starting points, output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import plait
from plait.data.pairs import Pairs
from plait.encoders.image import create_model
from plait.report.write import write_pairs
from plait.search.measure import params_of
from plait.search.outcome import state_of, was_trained
from plait.search.reward import reward
from plait.search.space import Space
from plait.search.study import JOURNAL, Journal, choices_of
from search.tiny import REFERENCE, shrink, tiny_space
from toys import Run

ROWS, EPOCHS = 96, 2
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "drawn.parquet"
    write_pairs(plait.draw(rows=ROWS, size=32), path)
    return path


def options(data: Path, out: Path, *more: object) -> list[str]:
    """A search of seconds in the tiny space."""
    settings = ("image.workers=0", "device=cpu", "image.train.epochs=2", "image.train.batch=16", "data.test_fraction=0")
    sets = [part for one in settings for part in ("--set", one)]
    short = ["--reference", REFERENCE, "--proxy-epochs", EPOCHS, "--proxy-rows", 40]
    return [str(part) for part in ("search", data, "--out", out, *short, *sets, *more)]


@pytest.fixture
def go(run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """A search in the tiny space, into ``tmp_path / "found"``."""
    shrink(monkeypatch.setattr)
    return lambda *more, source=data: run(*options(source, tmp_path / "found", *more))


def facts(tmp_path: Path) -> Facts:
    found: Facts = json.loads((tmp_path / "found" / "search.json").read_text("utf-8"))
    return found


def start(data: Path, tmp_path: Path, *more: object, go: Path | None = None) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    script = Path(__file__).with_name("tiny.py")
    wait = ["--go", str(go)] if go else []
    return subprocess.Popen(
        [sys.executable, script, *wait, *options(data, tmp_path / "found", *more)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_from_rows_to_a_folder(go: Callable[..., tuple[int, str, str]], run: Run, data: Path, tmp_path: Path) -> None:
    code, out, err = go("--trials", 4)
    assert code == 0, err
    found = facts(tmp_path)
    trials = found["trials"]
    assert [one["number"] for one in trials] == list(range(len(trials)))
    assert sum(one["state"] in ("trained", "stopped") for one in trials) == 4
    first = trials[0]
    assert (first["name"], first["state"], first["step_ratio"], first["epochs"]) == (REFERENCE, "trained", 1.0, EPOCHS)
    assert found["reference"]["trial"] == 0
    for one in trials:
        if one["state"] in ("trained", "stopped"):
            size = one["params"] / found["reference"]["params"]
            assert one["reward"] == pytest.approx(reward(one["accuracy"], one["step_ratio"], size))
            assert tiny_space((32,)).network(one["choices"]).blocks == tuple(one["blocks"])
    best = trials[found["best"]]
    assert best["reward"] == max(one["reward"] for one in trials if one["state"] == "trained")
    assert " ".join(best["blocks"]) in out
    assert f"--set image.model={found['final']['model']}" in out
    model = create_model(found["final"]["model"], True)
    assert model.network["blocks"] == best["blocks"]
    assert not (tmp_path / "found" / "start").exists()
    page = (tmp_path / "found" / "report.html").read_text("utf-8")
    assert page.count("<svg role") == 3
    assert "http" not in page.replace("http-equiv", "")
    # For every other verb it is a timm folder, like any.
    sets = (
        "device=cpu",
        "text.model=tfidf",
        "image.workers=0",
        "head.folds=2",
        f"image.model={found['final']['model']}",
    )
    pairs = [part for one in sets for part in ("--set", one)]
    code, _, err = run("fit", data, "--out", tmp_path / "run", "--set", "model=image", *pairs)
    assert code == 0, err
    kept = [json.loads(path.read_text("utf-8")) for path in (tmp_path / "run").rglob("config.json")]
    assert "plait_efficientnet" in [one.get("architecture") for one in kept]
    assert len(plait.load(tmp_path / "run").predict(plait.read(str(data)).select([0, 1]))) == 2


def test_a_finished_search_is_left_alone(go: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, first, err = go("--trials", 1)
    assert code == 0, err
    kept = {path: path.read_bytes() for path in (tmp_path / "found").rglob("*") if path.is_file()}
    code, again, err = go("--trials", 1)
    assert code == 0, err
    assert again == first
    assert err.strip().splitlines()[-1] == f"'{tmp_path / 'found'}' holds this search, finished; there is nothing to do"
    assert {p: p.read_bytes() for p in (tmp_path / "found").rglob("*") if p.is_file() and p.stat().st_size} == {
        p: content for p, content in kept.items() if content
    }
    code, _, err = go("--trials", 2)  # a longer one goes on
    assert code == 0, err
    assert [one["state"] in ("trained", "stopped") for one in facts(tmp_path)["trials"]].count(True) == 2
    code, _, err = go("--trials", 2, "--proxy-rows", 30)
    assert code == 2
    assert (
        "holds a search with other rows; repeat that one to go on with it, choose another folder, or start anew with "
        in err
    )
    code, _, err = go("--trials", 1, "--proxy-rows", 30, "--overwrite")
    assert code == 0, err
    assert len(facts(tmp_path)["trials"]) == 1


def finished(folder: Path) -> list[tuple[int, float]]:
    """Number and reward of the trials that a search in a folder has trained."""
    trials = Journal(folder, "tpe", 0).trials
    return [(one.number, one.user_attrs["reward"]) for one in trials if was_trained(one)]


def test_killed_and_repeated(go: Callable[..., tuple[int, str, str]], data: Path, tmp_path: Path) -> None:
    process, folder = start(data, tmp_path, "--trials", 3), tmp_path / "found"
    assert process.stderr is not None
    said = next((line for line in process.stderr if line.startswith("trial 1:")), None)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert said is not None
    before = finished(folder)
    assert [number for number, _ in before[:2]] == [0, 1]
    with (folder / JOURNAL).open("ab") as journal:  # as if the kill had hit it while writing
        journal.write(b'{"op_code": 9, "worker_id"')
    code, _, err = go("--trials", 3)
    assert code == 0, err
    trials = facts(tmp_path)["trials"]
    done = [(one["number"], one["reward"]) for one in trials if one["state"] in ("trained", "stopped")]
    assert len(done) == 3
    assert done[: len(before)] == before
    lost = [one["choices"] for one in trials if one["state"] == "lost"]
    assert len(lost) <= 1
    names = set(tiny_space((32,)).choices)
    for choices in lost:  # it is tried again, unless it was killed before all its choices were made
        if set(choices) == names:
            assert any(one["choices"] == choices and one["state"] in ("trained", "stopped") for one in trials)


@pytest.mark.slow
def test_two_processes_share_a_study(data: Path, tmp_path: Path) -> None:
    starter = tmp_path / "go"
    processes = [start(data, tmp_path, "--trials", 8, go=starter) for _ in range(2)]
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.ready"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    starter.touch()
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    trained = [one for one in Journal(tmp_path / "found", "tpe", 0).trials if was_trained(one)]
    assert len(trained) == 8
    assert len({one.user_attrs["worker"] for one in trained}) == 2
    choices = [tuple(sorted(choices_of(one).items())) for one in trained]
    assert len(set(choices)) == 8
    assert sum("to the end: 2 epochs" in err for _, err in said) == 1
    assert facts(tmp_path)["final"]["trial"] == facts(tmp_path)["best"]


def test_refused_before_any_epoch(go: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    space, rng = tiny_space((32,)), np.random.default_rng(0)
    drawn = [{name: values[rng.integers(len(values))] for name, values in space.choices.items()} for _ in range(21)]
    limit = int(np.median([params_of(space.network(choices).build(16)) for choices in drawn]))
    code, _, err = go("--trials", 3, "--max-params", limit, "--sampler", "random")
    assert code == 0, err
    trials = facts(tmp_path)["trials"]
    refused = [one for one in trials if one["state"] == "refused"]
    assert refused
    for one in refused:
        reason = f"{one['params']:,} parameters, above --max-params {limit:,} parameters"
        assert one["reasons"] == [reason]
        assert "epochs" not in one
        assert "step_ms" not in one  # parameters are counted before anything is timed
    trained = [one for one in trials if one["state"] in ("trained", "stopped")]
    assert len(trained) == 3
    assert all(one["params"] <= limit for one in trained)


@pytest.mark.slow
def test_limits_of_time(go: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, err = go("--trials", 1, "--max-ms", 10_000, "--max-step-ms", 60_000)
    assert code == 0, err
    one = facts(tmp_path)["trials"][0]
    assert 0 < one["ms"] < 10_000
    assert 0 < one["step_ms"] < 60_000


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (("--max-params", "1000"), r"has [\d,]+ parameters, above --max-params 1,000 parameters; raise the limit"),
        (("--max-step-ms", "1e-6"), r"has [\d.]+ ms a step, above --max-step-ms 1e-06 ms a step; raise the limit"),
    ],
)
def test_limits_that_nothing_meets(
    go: Callable[..., tuple[int, str, str]], limits: tuple[str, str], words: str
) -> None:
    code, out, err = go("--trials", 2, *limits)
    start = "error: no network of the space meets the limits; the nearest, 32 px and width tiny, "
    assert (code, out) == (2, "")
    assert _matches(start, words, err), err


def _matches(start: str, pattern: str, text: str) -> bool:
    import re

    last = text.strip().splitlines()[-1]
    return last.startswith(start) and re.fullmatch(pattern, last.removeprefix(start)) is not None


def test_a_budget_too_short(go: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = go("--budget", 0.001)
    start = "error: --budget 0.001 is too short for one trial: "
    pattern = (
        r"training test_efficientnet for 2 epochs on \d+ rows takes about \d+\.\d minutes here; give more, or lower "
        r"--proxy-rows or --proxy-epochs"
    )
    assert (code, out) == (2, "")
    assert _matches(start, pattern, err), err


def test_a_budget_ends_the_search(go: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, err = go("--budget", 0.1)
    assert code == 0, err
    found = facts(tmp_path)
    states = [one["state"] for one in found["trials"]]
    assert states[-1] == "out of time"
    assert states[0] == "trained"
    assert sum(one["seconds"] for one in found["trials"] if "seconds" in one) < 60
    code, _, err = go("--budget", 0.1)
    assert "there is nothing to do" in err


def test_rows_that_cannot_be_searched_on(go: Callable[..., tuple[int, str, str]], run: Run, tmp_path: Path) -> None:
    drawn = plait.draw(rows=32, size=32)
    one = drawn.select(np.flatnonzero([label == drawn.labels[0] for label in drawn.labels]))
    write_pairs(one, tmp_path / "one.parquet")
    write_pairs(_small(16, 24), tmp_path / "small.parquet")
    code, _, err = go(source=tmp_path / "one.parquet")
    assert code == 2
    assert f"every row has the label '{drawn.labels[0]}'; give rows of at least two classes" in err
    code, _, err = go(source=tmp_path / "small.parquet")
    assert code == 2
    assert "pictures of 24 px are too small for the stages, which halve them five times; give pictures of at" in err
    code, _, err = go("--set", "image.train.stages=[{size: 32, epochs: 1}]")
    assert code == 2
    assert "error: image.train.stages names sizes, which a search chooses; leave it null\n" in err
    code, _, err = go("--warm-start", "resnet18")
    assert code == 2
    assert "--warm-start 'resnet18' is no point of the space" in err
    code, _, err = go("--reference", "resnet188")
    assert (code, err.splitlines()[-1].split(";")[0]) == (
        2,
        "error: --reference 'resnet188': timm has no model 'resnet188'. Did you mean 'resnet18'?",
    )
    assert not (tmp_path / "found").exists()
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "notes.txt").write_text("mine")
    code, _, err = go()
    assert code == 2
    assert "is not empty; choose another folder, or replace it with --overwrite" in err


def _small(rows: int, side: int) -> Pairs:
    from PIL import Image

    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)) for _ in range(rows)]
    return Pairs.from_columns(pictures, ["x"] * rows, labels=["a", "b"] * (rows // 2))


@pytest.mark.slow
def test_starting_points_come_first(go: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, err = go("--trials", 2)
    assert code == 0, err
    found = facts(tmp_path)["final"]["model"]
    best = facts(tmp_path)["trials"][facts(tmp_path)["best"]]
    (tmp_path / "found").rename(tmp_path / "earlier")
    known = found.replace(str(tmp_path / "found"), str(tmp_path / "earlier"))
    code, _, err = go("--trials", 2, "--warm-start", known, "--set", "seed=1")
    assert code == 0, err
    names = [one.get("name") for one in facts(tmp_path)["trials"]]
    if best["number"]:  # the reference itself is not scored twice
        assert names == [REFERENCE, known]
        assert facts(tmp_path)["trials"][1]["choices"] == best["choices"]
    else:
        assert names == [REFERENCE, None]


def test_optuna_is_asked_for(go: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else real(name, *a))
    code, _, err = go()
    assert (code, err) == (2, "error: a search needs Optuna; pip install 'plait[search]'\n")


def test_workers_see_each_other(tmp_path: Path) -> None:
    """Two workers on one folder: each knows the other's trials, and only a dead worker's are tried again."""
    space: Space = tiny_space((32,))
    first, second = (Journal(tmp_path, "random", 0) for _ in range(2))
    with second.working():
        with first.working():
            _, choices = first.ask(space)
            trial, other = second.ask(space)
            assert choices != other
            assert (first.others(), second.others()) == (2, 2)
            assert second.reclaim(space) == first.reclaim(space) == 0
            second.study.tell(trial, 0.5)
        assert second.reclaim(space) == 1
        assert [state_of(one) for one in second.trials] == ["lost", "trained", "unfinished"]
        assert second.ask(space)[1] == choices


def test_draws_depend_on_seed_and_number_alone(tmp_path: Path) -> None:
    space = tiny_space((32,))
    whole = Journal(tmp_path / "a", "tpe", 3)
    expected = [whole.ask(space)[1] for _ in range(4)]
    for i, choices in enumerate(expected):
        assert Journal(tmp_path / "b", "tpe", 3).ask(space)[1] == choices, i
    assert Journal(tmp_path / "c", "tpe", 4).ask(space)[1] != expected[0]


def test_blocks_of_the_same_shape_are_inherited() -> None:
    from plait.search.inherit import inherit

    space = tiny_space((32,))
    small = space.smallest
    deeper = space.network(small.choices | {"stage2.layers": 2, "stage3.kernel": 5})
    torch.manual_seed(0)
    model, source = deeper.build(3), small.build(7)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    share = inherit(model, source)
    given, now = source.state_dict(), model.state_dict()
    taken = [key for key in now if key in given and now[key].shape == given[key].shape]
    own = ("blocks.1.1.", "blocks.2.0.", "classifier.")  # of another place or shape, or never taken
    for key in now:
        same = given if not key.startswith(own) else before
        assert torch.equal(now[key], same[key]), key
    parameters = dict(model.named_parameters())
    expected = sum(p.numel() for key, p in parameters.items() if not key.startswith(own))
    assert share == pytest.approx(expected / params_of(model))
    assert 0.3 < share < 1
    assert taken
