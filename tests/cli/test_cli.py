"""The command line as a user meets it: every verb once, and each mistake as one line with exit code 2."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import plait
from plait.report.write import write_pairs
from toys import Run


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cli") / "dishes.parquet"
    write_pairs(plait.draw(rows=160, seed=2, size=32), file)
    return file


@pytest.fixture(scope="module")
def fitted(table: Path, quick: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from plait.config import configure
    from plait.pipeline.classifier import Classifier

    folder = tmp_path_factory.mktemp("cli-run") / "run"
    Classifier(configure(overrides=quick[1::2])).fit(table).save(folder)
    return folder


def test_compare_writes_the_contract_and_encodes_once(run: Run, table: Path, quick: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, printed, err = run("compare", table, "--out", out, *quick)
    assert code == 0, err
    result = json.loads((out / "compare.json").read_text())
    assert set(result) == {"schema", "rows", "classes", "seconds", "models", "fusion", "repeated"}
    assert result["rows"] == {"train": 128, "test": 32}
    assert result["classes"] == 16
    assert {"read", "encode_image", "encode_text", "total"} <= set(result["seconds"])
    assert list(result["models"]) == ["image", "text", "late", "early"]
    for model in result["models"].values():
        assert set(model) == {"accuracy", "top5", "macro_f1", "ece", "fit_seconds", "interval", "cost", "fresh"}
    assert " over " in printed.splitlines()[5]
    assert " McNemar p " in printed.splitlines()[5]
    assert f"report: {out / 'report.html'}" in printed
    assert [line.split()[0] for line in printed.splitlines()[1:5]] == ["image", "text", "late", "early"]
    assert printed.splitlines()[-6].split()[:3] == ["cost", "parameters", "MB"]
    assert [line.split()[0] for line in printed.splitlines()[-5:-1]] == ["image", "text", "late", "early"]

    first = result["models"]
    code, _, err = run("compare", table, "--out", out, *quick)  # the same command may replace its own results
    assert code == 0, err
    second = json.loads((out / "compare.json").read_text())["models"]
    for name, model in first.items():
        times = {"fit_seconds": 0, "cost": 0}
        assert {**second[name], **times} == {**model, **times}
        for fixed in ("parameters", "megabytes"):
            assert second[name]["cost"][fixed] == model["cost"][fixed]


def test_fit_within_a_budget(run: Run, table: Path, quick: list[str], tmp_path: Path) -> None:
    code, printed, err = run("fit", table, "--out", tmp_path / "none", *quick, "--max-mb", "0.0001", "--max-ms", 60000)
    assert (code, printed) == (2, "")
    assert re.fullmatch(
        r"error: no model within --max-ms 60000 and --max-mb 0\.0001; the nearest is (image|text) with \S+ ms a row, "
        r"\S+ MB: allow more, or take smaller encoders, as --set image\.model=lite0 and --set text\.model=tfidf",
        err.splitlines()[-1],
    )
    assert not (tmp_path / "none").exists()
    code, printed, err = run("fit", table, "--out", tmp_path / "run", *quick, "--max-mb", 50, "--max-ms", 60000)
    assert code == 0, err
    assert re.search(r"^late: \S+ ms a row, \S+ MB$", err, re.MULTILINE)
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]["cost"]
    assert re.search(rf"^(image|text|late|early) \(.*\): 128 rows, 16 classes, \S+ s, {re.escape(kept)}$", err, re.M)
    code, _, err = run("fit", table, "--out", tmp_path / "none", *quick, "--max-ms", "-3")
    assert (code, err) == (2, "error: max_ms: input should be greater than 0 (got -3.0)\n")


def test_seeds_join_the_table_and_the_file(run: Run, table: Path, quick: list[str], tmp_path: Path) -> None:
    code, printed, err = run("compare", table, "--out", tmp_path / "out", *quick, "--seeds", 2)
    assert code == 0, err
    assert "training 2 of 2: seed 1" in err
    assert "2 seeds, std" in printed.splitlines()[0]
    for model in json.loads((tmp_path / "out" / "compare.json").read_text())["models"].values():
        assert set(model["seeds"]) == {"n", "mean", "std", "accuracies"}
        assert model["seeds"]["accuracies"][0] == model["accuracy"]
    code, printed, err = run("compare", table, "--out", tmp_path / "none", *quick, "--seeds", 0)
    assert (code, printed, err) == (2, "", "error: seeds is 0; give 1 or more\n")


def test_a_second_comparison_encodes_nothing(table: Path, quick: list[str]) -> None:
    config = plait.configure(overrides=quick[1::2])
    assert plait.compare(table, config=config).encoded > 0
    assert plait.compare(table, config=config).encoded == 0


def test_a_run_is_the_model_that_a_comparison_measured(run: Run, table: Path, quick: list[str], tmp_path: Path) -> None:
    """To the last of its probabilities, which the calibration error is of: what heads learn from is the same."""
    test = tmp_path / "test.parquet"
    write_pairs(plait.draw(rows=200, seed=9, size=32), test)
    out, folder = tmp_path / "out", tmp_path / "run"
    for verb, where, more in (("compare", out, ()), ("fit", folder, ("--set", "model=late"))):
        code, _, err = run(verb, table, "--test", test, "--out", where, *quick, *more)
        assert code == 0, err
    assert "heads that were fitted to the same rows before come from the store" in err
    measured = json.loads((out / "compare.json").read_text())["models"]["late"]
    code, _, err = run("evaluate", folder, test, "--out", tmp_path / "evaluation")
    assert code == 0, err
    again = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["models"]["late"]
    assert again["accuracy"] == measured["accuracy"]
    assert again["ece"] == pytest.approx(measured["ece"], abs=1e-5)


def test_fit_evaluate_predict(run: Run, table: Path, quick: list[str], tmp_path: Path) -> None:
    folder, out = tmp_path / "run", tmp_path / "evaluation"
    code, printed, err = run("fit", table, "--out", folder, *quick, "--set", "model=late")
    assert (code, printed) == (0, f"{folder}\n"), err
    assert plait.load(folder).metrics["rows"] == 128
    kept = plait.load(folder).metrics["test"]
    assert f"\naccuracy on 32 rows kept apart: {kept['accuracy']:.2%}\n" in err
    assert kept["rows"] == 32
    new = tmp_path / "new.parquet"
    write_pairs(plait.draw(rows=80, seed=9, size=32), new)
    code, _, err = run("evaluate", folder, new, "--out", out)
    assert code == 0, err
    metrics = json.loads((out / "metrics.json").read_text())["models"]["late"]
    assert set(metrics) == {"accuracy", "top5", "macro_f1", "ece", "fit_seconds", "interval"}
    code, printed, err = run("predict", folder, new, "--explain")
    assert code == 0, err
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["id"] for row in rows] == plait.read(new).ids
    assert set(rows[0]) == {"id", "label", "confidence", "top5", "effect_image", "effect_text"}
    right = sum(row["label"] == label for row, label in zip(rows, plait.read(new).labels, strict=True))
    assert right / len(rows) == pytest.approx(metrics["accuracy"], abs=1e-6)


def test_predict_one_pair_and_to_file(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    code, printed, err = run("predict", fitted, "--text", "best ramen noodle soup")
    assert code == 0, err
    answer = json.loads(printed)
    assert answer["label"] == answer["top5"][0]["label"]
    assert len(answer["top5"]) == 5
    code, printed, _ = run("predict", fitted, table, "--out", tmp_path / "answers.jsonl")
    assert (code, printed) == (0, f"{tmp_path / 'answers.jsonl'}\n")
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 160


def _csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_mistakes_in_the_data(run: Run, quick: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = [f"{i},title {i} of {'soup' if i % 2 else 'cake'},{'soup' if i % 2 else 'cake'}" for i in range(40)]
    train = _csv(tmp_path / "train.csv", "id,text,label", *good)
    cases = {
        ("compare", tmp_path / "absent.csv"): f"no such file or folder: '{tmp_path / 'absent.csv'}'",
        ("compare", _csv(tmp_path / "nolabel.csv", "id,text", "1,soup")): (
            f"{tmp_path / 'nolabel.csv'}: no label column among id, text; name it with --set data.label=COLUMN"
        ),
        ("compare", _csv(tmp_path / "zero.csv", "id,text,label")): f"{tmp_path / 'zero.csv'}: no rows",
        ("compare", _csv(tmp_path / "one.csv", "id,text,label", *(f"{i},t{i},soup" for i in range(9)))): (
            f"{tmp_path / 'one.csv'}: every row has the label 'soup'; give rows of at least two classes"
        ),
        ("fit", train, "--set", "model=image"): f"{train}: no row has an image",
        ("fit", train, "--set", "model=image", "--set", "data.image=photo"): "photo",
    }
    for arguments, expected in cases.items():
        code, printed, err = run(*arguments, "--out", out, *quick)
        assert (code, printed) == (2, ""), arguments
        assert err.startswith("error: ")
        assert expected in err
        assert len(err.splitlines()) == 1, err
        assert not out.exists()


def test_a_test_label_never_seen_in_training(run: Run, table: Path, quick: list[str], tmp_path: Path) -> None:
    strange = _csv(tmp_path / "strange.csv", "id,image,text,label", "7,a.jpg,a ramen,ramen", "8,,odd,durian")
    code, _, err = run("compare", table, "--test", strange, "--out", tmp_path / "out", *quick)
    assert code == 2
    assert "label 'durian' was never seen in training" in err
    assert "id '8'" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--preset", "quik"], "unknown preset 'quik'. Did you mean 'quick'?"),
        (["--set", "imge.model=x"], "unknown key 'imge'. Did you mean 'image'?"),
        (["--set", "image.modle=x"], "unknown key 'image.modle'. Did you mean 'image.model'?"),
        (["--set", "train.epochs=0"], "train.epochs: input should be greater than 0 (got 0)"),
        (["--set", "device=cuda:77"], "device 'cuda:77' cannot be used"),
    ],
)
def test_mistakes_in_the_configuration(
    run: Run, table: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    code, _, err = run("compare", table, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert expected in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_corrupt_jpeg_is_named_and_an_error_only_under_strict(run: Run, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    data = _csv(tmp_path / "new.csv", "id,image,text", "a1,broken.jpg,ramen soup")
    reason = f"row 'a1': image '{tmp_path / 'broken.jpg'}' cannot be read"
    code, printed, err = run("predict", fitted, data)
    assert code == 0
    assert "1 of 1 images cannot be read and count as missing" in err
    assert reason in err
    assert printed.splitlines()[1].startswith("a1,")
    code, printed, err = run("predict", fitted, data, "--strict")
    assert (code, printed) == (2, "")
    assert reason in err
    assert len(err.splitlines()) == 1


def test_results_of_others_are_left_untouched(
    run: Run, table: Path, fitted: Path, quick: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run("compare", table, "--out", out, *quick)[0] == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    code, _, err = run("compare", table, "--out", out, *quick, "--set", "seed=1")
    assert code == 2
    assert "holds compare.json of another run; choose another folder, or replace it with --overwrite" in err
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    for verb in ("fit", "compare"):
        code, _, err = run(verb, table, "--out", fitted, *quick)
        assert code == 2
        assert f"--out '{fitted}' already holds a run" in err
    assert plait.load(fitted).labels == sorted(set(plait.read(table).labels))


def test_mistakes_with_runs(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    cases = {
        ("predict", tmp_path / "none", table): f"no such run folder: '{tmp_path / 'none'}'",
        ("predict", fitted): "give either DATA, or --image and --text for one pair",
        ("predict", fitted, table, "--out", tmp_path / "x.xlsx"): "unknown ending '.xlsx'",
        (
            "predict",
            fitted,
            "--image",
            tmp_path / "none.jpg",
        ): f"--image '{tmp_path / 'none.jpg'}' cannot be read (no such file)",
        ("predict", fitted, "--text", " "): "the pair has neither an image nor a text",
        ("predict", fitted, table, "--set", "head.hidden=3"): "a fitted run cannot be changed",
    }
    for arguments, expected in cases.items():
        code, printed, err = run(*arguments)
        assert (code, printed) == (2, ""), arguments
        assert expected in err
        assert len(err.splitlines()) == 1


def test_help_teaches_and_starts_without_heavy_libraries() -> None:
    code = "import sys; sys.argv=['plait','--help']\nfrom plait import cli\ntry: cli.main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch','numpy','datasets','timm') if m in sys.modules])"
    env = {**os.environ, "COLUMNS": "100"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    assert out.splitlines()[-1] == "[]"
    for verb in ("demo", "compare", "fit", "evaluate", "predict"):
        assert verb in out


def test_threads_do_not_wait_by_spinning_unless_told_to(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP reads it when PyTorch is imported, which the command line does later; see test_floors."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # for monkeypatch to put back what was there
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert run("presets")[0] == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert run("presets")[0] == 0
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    ("where", "verb"),
    [
        ("plait.training.heads.descent.AdamW.step", ("fit", "--set", "model=early")),
        ("plait.training.loop.KeepBest.on_train_epoch_end", ("tune image", "--set", "image.train.epochs=2")),
    ],
    ids=["heads", "encoder"],
)
def test_ctrl_c_in_training_stops_in_one_line(
    where: str, verb: tuple[str, ...], run: Run, table: Path, quick: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Lightning makes a silent exit with code 1 of it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    words, *options = verb
    code, out, err = run(*words.split(), table, "--out", tmp_path / "run", *quick, *options)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "stopped; what was encoded and trained so far is kept"
    assert "Traceback" not in err


def test_sigterm_in_training_stops_in_one_line(
    run: Run, table: Path, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What schedulers send; Lightning would go on to the end of a batch, and then raise an error of its own."""
    before = signal.getsignal(signal.SIGTERM)
    place = "plait.training.loop.KeepBest.on_train_epoch_end"
    monkeypatch.setattr(place, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    code, out, err = run("tune", "image", table, "--out", tmp_path / "run", *quick, "--set", "image.train.epochs=2")
    assert (code, out) == (143, "")
    assert err.splitlines()[-1] == "stopped; what was encoded and trained so far is kept"
    assert "Traceback" not in err
    assert signal.getsignal(signal.SIGTERM) is before


def test_presets_say_what_differs_from_their_source(run: Run) -> None:
    code, out, _ = run("presets")
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    assert "published: early 92.3 %" in lines
    assert "differs: image features of EfficientNetV2-S, ImageNet-21k (there Graph-RISE, which is not public)" in lines
