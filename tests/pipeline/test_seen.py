"""No test row is ever learnt from, by any verb in any order; and who has seen rows says so."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import layouts
import plait
from plait.cli import app
from plait.config import Config
from plait.data.pairs import Pairs
from plait.data.sketch import Sketch
from plait.errors import DataError, RunError
from plait.pipeline.prepare import Preparation
from plait.report.results import Evaluation
from plait.runs.folder import save
from plait.runs.open import load
from plait.training.encoders.tuner import Tuner

QUICK = ("image.size=32", "image.train.epochs=1", "text.train.epochs=1", "train.epochs=2", "head.folds=2")
Keys = set[bytes | None]


def keys(*pairs: Pairs) -> Keys:
    return {key for one in pairs for key in one.row_keys}


@dataclass
class Watched:
    """The command line, and which rows each training and each measurement got.

    Attributes:
        trained: rows that some training got, to learn from or to validate on. tested: rows of each measurement.
    """

    sets: list[str]
    trained: list[Keys] = field(default_factory=list)
    tested: list[Keys] = field(default_factory=list)

    def run(self, *words: object, **encoders: Path) -> None:
        """``run("fit", table, "--out", folder)``, with the toy encoders or those given."""
        sets = [*self.sets, *(f"{modality}.model={LOCAL[modality]}{folder}" for modality, folder in encoders.items())]
        verb = 2 if words[0] == "tune" else 1
        first, rest = list(map(str, words[:verb])), list(map(str, words[verb:]))
        app([*first, *(part for one in sets for part in ("--set", one)), *rest], standalone_mode=False)


LOCAL = {"image": "local-dir:", "text": ""}


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, image_folder: Path, text_folder: Path) -> Watched:
    """The real trainings run; what they are given is written down."""
    encoders = (f"image.model=local-dir:{image_folder}", f"text.model={text_folder}")
    found = Watched(["device=cpu", "image.workers=0", "head.hidden=16", "text.static.dim=16", *encoders, *QUICK])

    def wrap(owner: Any, name: str, rows: Callable[..., Keys], into: list[Keys], *, goes_on: bool = True) -> None:
        real = getattr(owner, name)

        def wrapper(*args: Any, **named: Any) -> Any:
            into.append(rows(*args))
            return real(*args, **named) if goes_on else None

        monkeypatch.setattr(owner, name, wrapper)

    for name in ("_image", "_text"):
        wrap(Tuner, name, lambda tuner, *_: keys(tuner.train, tuner.val), found.trained)
    wrap(Preparation, "task", lambda prepared: keys(prepared.train_pairs, prepared.val_pairs), found.trained)
    wrap(plait_tuned(), "distil_text", lambda train, val, *_: keys(train, val), found.trained)
    wrap(
        plait_outputs(), "write_comparison", lambda evaluation, *_: keys(evaluation.pairs), found.tested, goes_on=False
    )
    wrap(plait_evaluation(), "measure_apart", lambda _, test: keys(test), found.tested)
    return found


def plait_tuned() -> Any:
    from plait.training.encoders import tuner as tuned

    return tuned


def plait_evaluation() -> Any:
    from plait.pipeline import evaluate

    return evaluate


def plait_outputs() -> Any:
    from plait.report import write as outputs

    return outputs


def sample(rows: int = 96, seed: int = 1) -> Pairs:
    return plait.draw(rows=rows, seed=seed, size=32)


def thirds(pairs: Pairs) -> dict[str, Pairs]:
    """All classes in each: every third row tests, and of the others every third validates."""
    place = np.arange(len(pairs)) // 16 % 6
    return {
        "train": pairs.select(np.flatnonzero(place < 3)),
        "dev": pairs.select(np.flatnonzero(place == 3)),
        "test": pairs.select(np.flatnonzero(place > 3)),
    }


def flow(watched: Watched, order: tuple[str, ...], data: Path, test: list[str], folder: Path) -> None:
    """The verbs in some order, the later ones on the encoders of the earlier."""
    encoders: dict[str, Path] = {}
    for verb in order:
        if verb == "tune":
            for modality in ("image", "text"):
                watched.run("tune", modality, data, *test, "--out", folder / modality)
                encoders[modality] = folder / modality
        else:
            watched.run(verb, data, *test, "--out", folder / verb, **encoders)


def check(watched: Watched, expected: int | None = None) -> None:
    """Every measurement had the same rows, and no training any of them."""
    assert len(watched.trained) == 8  # two tunings, each with two heads to tell its gain by, a fit and a comparison
    assert len(watched.tested) == 2
    assert watched.tested[0] == watched.tested[1]
    assert len(watched.tested[0]) == (expected or len(watched.tested[0])) > 0
    for rows in watched.trained:
        assert not rows & watched.tested[0]


ORDERS = list(permutations(("tune", "fit", "compare")))


@pytest.mark.parametrize(
    "order", [ORDERS[0], *(pytest.param(order, marks=pytest.mark.slow) for order in ORDERS[1:])], ids=" ".join
)
def test_no_drawn_test_row_is_learnt_from(order: tuple[str, ...], watched: Watched, tmp_path: Path) -> None:
    twice = _joined(sample(), sample().select(range(20)))  # equal pairs
    table = layouts.as_table(twice, tmp_path / "rows.parquet")
    flow(watched, order, table, [], tmp_path)
    check(watched)


def given_rows(folder: Path) -> Path:
    """A test file: 16 new rows, and 16 that are also in `sample`."""
    rows = [*layouts.contents(sample(16, seed=5)), *layouts.contents(sample())[:16]]
    images, texts, labels = zip(*rows, strict=True)
    return layouts.as_table(Pairs.from_columns(images, texts, labels), folder / "test.parquet")


@pytest.mark.parametrize(
    "order",
    [pytest.param(("tune", "fit", "compare"), marks=pytest.mark.slow), ("compare", "tune", "fit")],
    ids=" ".join,
)
def test_no_given_test_row_is_learnt_from(
    order: tuple[str, ...], watched: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = layouts.as_table(sample(), tmp_path / "rows.parquet")
    flow(watched, order, table, ["--test", str(given_rows(tmp_path))], tmp_path)
    check(watched, 32)
    said = f"{table}: 16 training rows are also test rows and are left out of training"
    assert capsys.readouterr().err.count(said) == 4  # by each verb


@pytest.mark.parametrize(
    ("layout", "given"),
    [
        pytest.param(layouts.as_kaggle, False, id="kaggle-own test split"),
        pytest.param(layouts.as_kaggle, True, id="kaggle---test", marks=pytest.mark.slow),
        pytest.param(layouts.as_mmbt, False, id="mmbt-own test split", marks=pytest.mark.slow),
        pytest.param(layouts.as_mmbt, True, id="mmbt---test", marks=pytest.mark.slow),
    ],
)
def test_no_test_row_of_food101_is_learnt_from(
    layout: Callable[[dict[str, Pairs], Path], Path], given: bool, watched: Watched, tmp_path: Path
) -> None:
    data = layout(thirds(sample()), tmp_path / "food101")
    order = ("tune", "compare", "fit") if given else ("fit", "tune", "compare")
    flow(watched, order, data, ["--test", str(given_rows(tmp_path))] if given else [], tmp_path)
    check(watched, 32)
    own = keys(plait.read(data).split("test"))
    assert (watched.tested[0] == own) != given
    assert not any(rows & own for rows in watched.trained)


@pytest.mark.parametrize("split", [True, False])
def test_no_test_photo_of_a_class_folder_is_learnt_from(split: bool, watched: Watched, tmp_path: Path) -> None:
    parts = thirds(sample()) if split else {"": sample()}
    data = layouts.as_class_folder(parts, tmp_path / "photos")
    watched.run("tune", "image", data, "--out", tmp_path / "image")
    watched.run("fit", data, "--out", tmp_path / "run", "--set", "model=image", image=tmp_path / "image")
    (tested,) = watched.tested
    assert len(tested) == (int(parts["test"].has_image.sum()) if split else pytest.approx(16, abs=2))
    for rows in watched.trained:
        assert not rows & tested
    assert len(watched.trained) == 4


def test_a_static_encoder_keeps_out_what_the_others_do(watched: Watched, tmp_path: Path) -> None:
    pytest.importorskip("model2vec.distill")
    table = layouts.as_table(sample(), tmp_path / "rows.parquet")
    watched.run("tune", "text", table, "--out", tmp_path / "tuned")
    watched.run("tune", "static", table, "--out", tmp_path / "static", text=tmp_path / "tuned")
    watched.run("compare", table, "--out", tmp_path / "comparison", text=tmp_path / "static")
    (tested,) = watched.tested
    assert len(watched.trained) == 5
    assert watched.trained[0] == watched.trained[1] == watched.trained[2]
    assert not watched.trained[0] & tested
    teacher, static = (Sketch.load(tmp_path / name) for name in ("tuned", "static"))
    assert teacher is not None
    assert static is not None
    pairs = plait.read(table)
    assert (static.learnt_from(pairs) == teacher.learnt_from(pairs)).all()
    # Distilled without labels from an encoder that has seen none, it has met the texts and learnt no answers.
    watched.run("tune", "static", table, "--out", tmp_path / "plain")
    plain = Sketch.load(tmp_path / "plain")
    assert plain is not None
    assert not plain.learnt_from(pairs).any()
    assert (plain.seen(pairs) == teacher.seen(pairs)).all()


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "section", "data"),
    [
        ("README.md", "## Tuning the encoders", "train.csv"),
        pytest.param("docs/reproduce-food101.md", "## One part", "food101", marks=pytest.mark.slow),
    ],
)
def test_the_commands_of_the_docs_keep_test_rows_out(
    page: str, section: str, data: str, watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the letter, but that toys stand for what needs a hub; of two ways to tune a text encoder the first is gone."""
    monkeypatch.chdir(tmp_path)
    if data == "food101":
        layouts.as_kaggle(thirds(sample()), tmp_path / data)
    else:
        layouts.as_csv(sample(), tmp_path / data)
    block = (ROOT / page).read_text("utf-8").split(section)[1].split("```sh\n")[1].split("```")[0]
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    commands = [words for words in commands if "pairs.tsv" not in words and "static" not in words]
    assert [words[:2] for words in commands] == [["tune", "image"], ["tune", "text"], ["compare", data]]
    for words in commands:
        watched.run(*words)
    (tested,) = watched.tested
    assert len(watched.trained) == 7
    assert len(tested) > 12
    assert not any(rows & tested for rows in watched.trained)


# ------------------------------------------------------------------ refused


def toy(toy_config: Callable[..., Config], *overrides: str) -> Config:
    return toy_config(*QUICK, *overrides)


@pytest.fixture
def tuned(watched: Watched, tmp_path: Path) -> tuple[Path, Path]:
    """A table, and a text encoder tuned on its rows, as seed 0 divides them."""
    table = layouts.as_table(sample(), tmp_path / "rows.parquet")
    watched.run("tune", "text", table, "--out", tmp_path / "tuned")
    return table, tmp_path / "tuned"


def test_compare_refuses_test_rows_that_an_encoder_has_seen(
    tuned: tuple[Path, Path], toy_config: Callable[..., Config], tmp_path: Path
) -> None:
    table, folder = tuned
    config = toy(toy_config, f"text.model={folder}+tfidf")
    assert plait.compare(table, config=config).seen is None  # the same DATA and seed
    other = config.model_copy(update={"seed": 1})
    with pytest.raises(DataError) as caught:
        plait.compare(table, config=other)
    count = int(str(caught.value).split(" has seen ")[1].split()[0])
    assert str(caught.value) == (
        f"text.model '{folder}' has seen {count} of 16 test rows ({100 * count / 16:.1f} %) in its training; tune it "
        "with the same DATA and seed, or with the same test rows, give other test rows, or have them reported apart "
        "with allow_seen=True"
    )
    assert count > 8
    # Other files with the same rows are no other rows.
    copied = layouts.as_table(sample().select(range(0, 96, 2)), tmp_path / "copied.parquet")
    with pytest.raises(DataError, match=f"text.model '{folder}' has seen "):
        plait.compare(sample(seed=5), copied, config)
    evaluation = plait.compare(table, config=other, allow_seen=True)
    assert evaluation.seen is not None
    assert evaluation.seen.shape == evaluation.targets.shape == (16,)
    assert evaluation.seen.sum() == count
    sketch = Sketch.load(folder)
    assert sketch is not None
    assert (sketch.seen(evaluation.pairs) == evaluation.seen).all()


def test_the_command_line_has_it_too(
    tuned: tuple[Path, Path], watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, folder = tuned
    words = ("compare", table, "--out", tmp_path / "out", "--set", "seed=1")
    with pytest.raises(DataError, match=r"in its training; tune it with the same DATA and seed"):
        watched.run(*words, text=folder)
    given: list[Evaluation] = []
    monkeypatch.setattr(plait_outputs(), "write_comparison", lambda evaluation, *_: given.append(evaluation))
    watched.run(*words, "--allow-seen", text=folder)
    assert given[0].seen is not None


def test_an_image_encoder_of_bare_photos_is_known_on_titled_ones(watched: Watched, tmp_path: Path) -> None:
    """The photos alone are in the class folder; in the table they have titles, and one title has no photo."""
    photos = layouts.as_class_folder({"": sample()}, tmp_path / "photos")
    table = layouts.as_table(sample(), tmp_path / "rows.parquet")
    watched.run("tune", "image", photos, "--out", tmp_path / "tuned", "--set", "data.test_fraction=0")
    with pytest.raises(DataError, match=r"image.model '.*/tuned' has seen 15 of 16 test rows \(93\.8 %\) in its"):
        watched.run("compare", table, "--out", tmp_path / "out", image=tmp_path / "tuned")


def test_texts_of_scored_pairs_are_known(watched: Watched, tmp_path: Path) -> None:
    texts = [text for text in sample().texts if text]
    lines = [f"{one}\t{other}\t{n % 5}" for n, (one, other) in enumerate(zip(texts[::2], texts[1::2], strict=False))]
    (tmp_path / "sts.tsv").write_text("\n".join(["text1\ttext2\tscore", *lines]), "utf-8")
    watched.run("tune", "text", tmp_path / "sts.tsv", "--out", tmp_path / "tuned")
    table = layouts.as_table(sample(), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"text.model '.*/tuned' has seen \d+ of 16 test rows"):
        watched.run("compare", table, "--out", tmp_path / "out", text=tmp_path / "tuned")
    with pytest.raises(DataError) as caught:
        watched.run("tune", "text", tmp_path / "sts.tsv", "--test", table, "--out", tmp_path / "other")
    assert str(caught.value) == (
        f"--test '{table}' has no use where '{tmp_path / 'sts.tsv'}' holds pairs of texts; leave it away"
    )


def test_an_encoder_that_does_not_say_what_it_has_seen(
    tuned: tuple[Path, Path], toy_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = tuned
    (folder / "seen.safetensors").unlink()
    plait.compare(table, config=toy(toy_config, f"text.model={folder}"))
    said = f"warning: text.model '{folder}' does not say which rows it was tuned on; tune it anew\n"
    assert capsys.readouterr().err.count(said) == 1


# ------------------------------------------------------------------ validation rows


def test_validation_rows_are_new_to_the_encoders_where_that_is_possible(
    tuned: tuple[Path, Path], toy_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = tuned
    config = toy(toy_config, f"text.model={folder}", "model=text")
    learnt = Sketch.load(folder)
    assert learnt is not None
    train, val = _divided(table, config)
    # With the rows that the encoder was tuned on, validation rows are those that chose its epoch.
    same = plait.Classifier(config).fit(train, val=val)
    few = "only 80 rows to choose and calibrate by: confidences are rough; more labelled rows mend that"
    # Heads may come from the store, where tuning's own comparison fitted them to the same features; that is no warning.
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert warned == [f"warning: {few}"]
    assert same.warnings_ == [few]
    # With more rows, there are enough new ones to draw from.
    more = Preparation(_joined(sample(), sample(seed=5)), config, ("text",))
    assert not learnt.learnt_from(more.val_pairs).any()
    assert (more.val_seen, more.seen) == (False, {"text"})
    assert "validation rows are drawn from the " in capsys.readouterr().err
    assert more.task().val_seen is False
    capsys.readouterr()
    # With few new ones, any will do, and one line says so.
    known = learnt.learnt_from(sample())
    few = Preparation(sample().select([*np.flatnonzero(known), *np.flatnonzero(~known)[:8]]), config, ("text",))
    assert (few.val_seen, few.task().val_seen) == (True, True)
    share = 100 * learnt.learnt_from(few.val_pairs).mean()
    line = (
        f"text.model '{folder}' has learnt from {share:.1f} % of the validation rows; it does better on them than on "
        "new ones"
    )
    rows = len(few.train_pairs) + len(few.val_pairs)
    rough = f"only {rows} rows to choose and calibrate by: confidences are rough; more labelled rows mend that"
    assert few.warnings == [line, rough]
    assert capsys.readouterr().err == f"warning: {line}\nwarning: {rough}\n"


def _divided(table: Path, config: Config) -> tuple[Pairs, Pairs]:
    from plait.data.partition import divide

    parts = divide(table, config)
    return parts.train, parts.val


def _joined(*parts: Pairs) -> Pairs:
    images, texts, labels = zip(*(row for part in parts for row in layouts.contents(part)), strict=True)
    return Pairs.from_columns(images, texts, labels)


# ------------------------------------------------------------------ runs


def test_a_run_refuses_rows_it_was_trained_on(watched: Watched, tmp_path: Path) -> None:
    table = layouts.as_table(sample(), tmp_path / "rows.parquet")
    folder = tmp_path / "run"
    watched.run("fit", table, "--out", folder)
    remedy = (
        "give other rows (SOURCE#test for a source's own test split), or have them reported apart with allow_seen=True"
    )
    with pytest.raises(DataError) as caught:
        app(["evaluate", str(folder), str(table)], standalone_mode=False)
    assert str(caught.value) == f"run '{folder}' has seen 80 of 96 rows (83.3 %) in its training; {remedy}"
    app(["evaluate", str(folder), str(table), "--allow-seen"], standalone_mode=False)
    evaluation = plait.evaluate(load(folder, "cpu"), table, allow_seen=True)
    assert evaluation.seen.sum() == 80
    kept = {key for key, seen in zip(evaluation.pairs.row_keys, evaluation.seen, strict=True) if not seen}
    assert kept == watched.tested[0]
    new = plait.evaluate(load(folder, "cpu"), sample(seed=5))
    assert new.seen is None
    # What the command reports on the rows kept apart is what evaluating them gives.
    rows = evaluation.pairs.select(np.flatnonzero(~evaluation.seen))
    found = plait.evaluate(load(folder, "cpu"), rows)
    right = (next(iter(found.models.values())).probabilities.argmax(1) == found.targets).mean()
    assert load(folder, "cpu").metrics["test"] == {"rows": 16, "accuracy": round(float(right), 6)}


def test_every_row_trains_if_asked(watched: Watched, tmp_path: Path) -> None:
    table = layouts.as_table(sample(), tmp_path / "rows.parquet")
    watched.run("fit", table, "--out", tmp_path / "run", "--set", "data.test_fraction=0")
    assert watched.tested == []
    assert watched.trained == [keys(sample())]
    run = load(tmp_path / "run", "cpu")
    assert run.metrics["rows"] == 96
    assert "test" not in run.metrics
    with pytest.raises(DataError) as caught:
        watched.run("compare", table, "--out", tmp_path / "out", "--set", "data.test_fraction=0")
    assert str(caught.value) == f"{table}: no test rows; give test, or data.test_fraction above 0"


def test_rows_kept_apart_that_say_nothing_are_left_out_of_the_figure(
    tuned: tuple[Path, Path], watched: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = tuned
    watched.run("fit", table, "--out", tmp_path / "run", "--set", "seed=1", text=folder)
    kept = load(tmp_path / "run", "cpu").metrics["test"]
    err = capsys.readouterr().err
    assert f"accuracy on {kept['rows']} rows kept apart: " in err
    assert f"; {16 - kept['rows']} that an encoder has seen left out\n" in err
    rows = layouts.contents(sample(6, seed=5))
    labels = [None, None, "no such dish", *(label for _, _, label in rows[3:])]
    test = Pairs.from_columns([image for image, _, _ in rows], [text for _, text, _ in rows], labels)
    layouts.as_table(test, tmp_path / "test.parquet")
    watched.run("fit", table, "--test", tmp_path / "test.parquet", "--out", tmp_path / "other")
    assert load(tmp_path / "other", "cpu").metrics["test"]["rows"] == 4
    assert "; 2 without a label left out; 1 with a label never seen in training count as wrong\n" in (
        capsys.readouterr().err
    )


def test_in_python_a_fit_takes_all_rows_but_those_of_a_test_split(
    toy_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy(toy_config, "model=text")
    assert plait.Classifier(config).fit(sample()).metrics_["rows"] == 96
    data = layouts.as_mmbt(thirds(sample()), tmp_path / "food101")
    classifier = plait.Classifier(config).fit(data)
    assert classifier.metrics_["rows"] == 64
    assert f"{data}: its test split (32 rows) is left out of training\n" in capsys.readouterr().err
    assert not classifier.engine_.sketches[""].seen(plait.read(data).split("test")).any()


@pytest.mark.parametrize("how", ["tuned before", "tuned in the run", "jointly"])
def test_a_run_knows_what_its_encoders_have_seen(
    how: str, tuned: tuple[Path, Path], toy_config: Callable[..., Config], tmp_path: Path
) -> None:
    table, folder = tuned
    rows = sample(seed=5)
    sets = {
        "tuned before": ("model=late", f"text.model={folder}+tfidf"),
        "tuned in the run": ("model=late", "text.tune=true"),
        "jointly": ("model=early", "joint.text=all", "joint.epochs=1", "head.early=towers"),
    }[how]
    fitted = plait.Classifier(toy(toy_config, *sets)).fit(rows)
    fitted.save(tmp_path / "run")
    (tmp_path / "far").mkdir()
    shutil.move(tmp_path / "run", tmp_path / "far" / "run")
    run = load(tmp_path / "far" / "run", "cpu")
    assert set(run.sketches) == {"", "text-0"}
    assert run.sketches[""].seen(rows).all()
    earlier = Sketch.load(folder)
    assert earlier is not None
    assert (run.sketches[""].seen(sample()) == (earlier.seen(sample()) & (how == "tuned before"))).all()
    assert run.sketches["text-0"].seen(rows.select(np.flatnonzero(rows.has_text))).all() == (how != "tuned before")
    # Its encoder can be an encoder elsewhere, and is known there, too.
    config = toy(toy_config, f"text.model={tmp_path / 'far' / 'run' / 'text-0'}", "seed=2")
    data = table if how == "tuned before" else rows
    with pytest.raises(DataError, match=r"text.model '.*/far/run/text-0' has seen \d+ of 16 test rows"):
        plait.compare(data, config=config)
    save(run, tmp_path / "again")
    assert load(tmp_path / "again", "cpu").sketches[""].seen(rows).all()


def test_an_altered_sketch_and_a_run_without_one(
    toy_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, folder = sample(), tmp_path / "run"
    plait.Classifier(toy(toy_config, "model=text")).fit(rows).save(folder)
    whole = (folder / "seen.safetensors").read_bytes()
    (folder / "seen.safetensors").write_bytes(whole[:-1])
    with pytest.raises(RunError, match=r"'seen.safetensors' is not as it was written; copy the run again"):
        load(folder)
    (folder / "seen.safetensors").unlink()
    manifest = json.loads((folder / "run.json").read_text("utf-8"))
    del manifest["files"]["seen.safetensors"]
    (folder / "run.json").write_text(json.dumps(manifest), "utf-8")
    assert len(load(folder, "cpu").predict(rows)) == 96
    capsys.readouterr()
    assert plait.evaluate(load(folder, "cpu"), rows).seen is None
    assert capsys.readouterr().err == (
        "warning: this run does not say which rows it has learnt from, and these may be among them\n"
    )


def test_an_export_knows_what_its_run_has_seen(toy_config: Callable[..., Config], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from plait.export.write import export

    rows, folder = sample(), tmp_path / "exported"
    export(plait.Classifier(toy(toy_config, "model=text", "text.model=tfidf")).fit(rows).engine_, folder)
    with pytest.raises(DataError, match=r"^run '.*/exported' has seen 96 of 96 rows \(100\.0 %\) in its training; "):
        plait.evaluate(load(folder), rows)


# ------------------------------------------------------------------ labels that mean nothing


def test_permuted_labels_give_chance_through_tune_and_compare(watched: Watched, tmp_path: Path) -> None:
    """An encoder that has seen the test rows would answer them right: it does so on those it was trained on.

    Validation rows repeat training texts beside other pictures, so that the epoch is kept that knows them by heart.
    """
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice([*"abcdefghijklmnopqrstuvwxyz"], 4)) for _ in range(200)]
    images = [image for image, _, _ in layouts.contents(sample(260))]
    pairs = Pairs.from_columns(images[:200], words, rng.permutation(["a", "b"] * 100))
    table = layouts.as_table(pairs, tmp_path / "rows.parquet")
    watched.sets += ["data.test_fraction=0.4", "train.epochs=15"]
    known = layouts.contents(_divided(table, plait.configure(overrides=watched.sets))[0])[:60]
    val = Pairs.from_columns(images[200:], [text for _, text, _ in known], [label for _, _, label in known])
    layouts.as_table(val, tmp_path / "val.parquet")
    learn = ["epochs=40", "patience=40", "lr=1e-2", "head_lr=1e-2", "batch=16", "per_class=1", "hard=0"]
    learn += ["label_smoothing=0", "dropout=0", "angle.cosine=0", "angle.in_batch=0", "angle.angle=0"]
    sets = [word for one in learn for word in ("--set", f"text.train.{one}")]
    watched.run("tune", "text", table, "--val", tmp_path / "val.parquet", "--out", tmp_path / "tuned", *sets)
    config = plait.configure(overrides=[*watched.sets, f"text.model={tmp_path / 'tuned'}"])

    def accuracies(seed: int, allow_seen: bool) -> dict[str, float]:
        given = config.model_copy(update={"seed": seed})
        found = plait.compare(table, config=given, val=tmp_path / "val.parquet", allow_seen=allow_seen)
        rows = found.seen if found.seen is not None else np.ones(len(found.targets), bool)
        models = found.models.items()
        return {name: float((one.probabilities.argmax(1) == found.targets)[rows].mean()) for name, one in models}

    assert max(accuracies(0, False).values()) < 0.5 + 3.5 * np.sqrt(0.25 / 80)
    assert accuracies(3, True)["text"] > 0.7  # of about 65 rows, so that chance is 3 deviations away
