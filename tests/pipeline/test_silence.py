"""Nothing is lost in silence: every verb on tables that lack what was read in training, or whose images are gone."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import plait
from plait.config import Config, configure
from plait.data.images import open_image
from plait.data.partition import divide
from plait.errors import DataError
from plait.pipeline.classifier import Classifier
from plait.runs.open import load
from toys import Run

HEADER = ("id", "photo", "title", "category")
Rows = list[tuple[str, ...]]


def table(path: Path, header: tuple[str, ...], rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``listings.csv`` of 96 rows in 16 classes beside the folder ``pics``; every row has an image and a text."""
    folder = tmp_path_factory.mktemp("silence")
    drawn = plait.draw(rows=192, seed=4, size=32)
    drawn = drawn.select([row for row in range(192) if drawn.has_image[row] and drawn.has_text[row]][:96])
    (folder / "pics").mkdir()
    for number, ref in enumerate(drawn.images()):
        assert ref is not None
        open_image(ref.load()).save(folder / "pics" / f"{number}.png")
    rows = [
        (f"r{number}", f"pics/{number}.png", str(text), str(label))
        for number, (text, label) in enumerate(zip(drawn.texts, drawn.labels, strict=True))
    ]
    table(folder / "listings.csv", HEADER, rows)
    return folder


@pytest.fixture(scope="module")
def rows(home: Path) -> Rows:
    with (home / "listings.csv").open(encoding="utf-8", newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


@pytest.fixture(scope="module")
def fitted(home: Path, quick: list[str]) -> Path:
    config = configure(overrides=[*quick[1::2], "model=late", "data.label=category"])
    Classifier(config).fit(home / "listings.csv").save(home / "run")
    return home / "run"


def answers(out: str) -> list[str]:
    return [row["top5"] for row in csv.DictReader(io.StringIO(out))]


# ------------------------------------------------------------------ a run remembers its columns


def test_a_run_remembers_its_columns(home: Path, fitted: Path) -> None:
    columns = dict(zip(("id", "image", "text", "label"), HEADER, strict=True))
    assert json.loads((fitted / "run.json").read_text())["metrics"]["columns"] == columns
    assert load(fitted).columns == columns
    assert plait.load(fitted).columns == columns


def test_a_text_under_an_unknown_name_is_an_error_that_names_the_key(
    run: Run, home: Path, fitted: Path, rows: Rows
) -> None:
    expected = answers(run("predict", fitted, home / "listings.csv")[1])
    new = table(home / "new.csv", ("id", "photo", "caption2", "category"), rows)
    error = (
        f"error: {new}: the run reads a text from column 'title', and this table has no such column "
        "(columns: id, photo, caption2, category); name it with --set data.text=COLUMN, "
        "or say that there is none with --set data.text=none\n"
    )
    for verb in ("predict", "evaluate"):
        assert run(verb, fitted, new) == (2, "", error)
    code, out, err = run("predict", fitted, new, "--set", "data.text=caption2")
    assert (code, err) == (0, f"{new}: image from 'photo', text from 'caption2'; ignored: category\n")
    assert answers(out) == expected
    code, out, err = run("predict", fitted, new, "--set", "data.text=none")
    assert (code, err) == (0, f"{new}: image from 'photo'; ignored: caption2, category\n")
    assert answers(out) != expected


def test_a_usual_name_is_taken_with_a_word_and_the_remembered_one_wins(
    run: Run, home: Path, fitted: Path, rows: Rows
) -> None:
    expected = answers(run("predict", fitted, home / "listings.csv")[1])
    other = table(home / "other.csv", ("id", "photo", "caption"), [row[:3] for row in rows])
    code, out, err = run("predict", fitted, other)
    assert (code, err) == (0, f"{other}: image from 'photo', text from 'caption' (in training from 'title')\n")
    assert answers(out) == expected
    both = table(home / "both.csv", ("id", "photo", "text", "title"), [(*row[:2], "no", row[2]) for row in rows])
    code, out, err = run("predict", fitted, both)
    assert (code, err) == (0, f"{both}: image from 'photo', text from 'title'; ignored: text\n")
    assert answers(out) == expected


def test_a_run_that_remembers_no_columns_opens_as_before(
    run: Run, home: Path, fitted: Path, rows: Rows, tmp_path: Path
) -> None:
    old = shutil.copytree(fitted, tmp_path / "old")
    manifest = json.loads((old / "run.json").read_text())
    del manifest["metrics"]["columns"]
    (old / "run.json").write_text(json.dumps(manifest))
    assert load(old).columns == {"label": "category"}  # as it was named
    expected = answers(run("predict", fitted, home / "listings.csv")[1])
    assert answers(run("predict", old, home / "listings.csv")[1]) == expected
    new = table(tmp_path / "new.csv", ("id", "image", "words"), [(row[0], row[1], row[2]) for row in rows])
    code, _, err = run("predict", old, new)
    assert (code, err) == (
        2,
        f"error: {new}: the run reads a text, and no column of this table has a usual name for it "
        "(columns: id, image, words); name it with --set data.text=COLUMN, "
        "or say that there is none with --set data.text=none\n",
    )


def test_class_folders_for_a_run_that_reads_texts(run: Run, home: Path, fitted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(home / "pics", folder / "ramen")
    code, out, err = run("predict", fitted, folder)
    assert (code, err) == (0, f"{folder}: no texts: answered by the image alone\n")
    assert len(answers(out)) == 96


def test_blank_texts(run: Run, home: Path, fitted: Path, rows: Rows, quick: list[str], tmp_path: Path) -> None:
    blank = table(home / "blank.csv", ("id", "photo", "title", "category"), [(*r[:2], " ", r[3]) for r in rows])
    code, _, err = run("predict", fitted, blank)
    said = f"{blank}: image from 'photo', text from 'title'; ignored: category\n"
    assert (code, err) == (0, f"{said}{blank}: no text in column 'title': answered by the image alone\n")
    code, _, err = run("compare", blank, "--out", tmp_path / "out", *quick)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {blank}: no row has a text (columns: id, photo, title, category); ")
    neither = table(home / "neither.csv", ("photo", "title"), [("", "")] * 2)
    assert run("predict", fitted, neither)[::2] == (
        2,
        f"error: {neither}: the run reads an image or a text, and no row has one; "
        "name its column with --set data.image=COLUMN --set data.text=COLUMN\n",
    )


def test_inputs_say_which_columns_were_taken(
    run: Run, home: Path, fitted: Path, quick: list[str], tmp_path: Path
) -> None:
    source = home / "listings.csv"
    taken = dict(zip(("id", "image", "text", "label"), HEADER, strict=True))
    for verb in (("evaluate", fitted, source, "--allow-seen"), ("compare", source, *quick)):
        for _ in range(2):  # what was found in the inputs is no other input
            code, _, err = run(*verb, "--out", tmp_path / str(verb[0]))
            assert code == 0, err
            guessed = f"{source}: image from 'photo', text from 'title', label from 'category'\n"
            assert err.count(guessed) == (verb[0] == "compare")  # the run takes what it remembers
        inputs = json.loads((tmp_path / str(verb[0]) / "inputs.json").read_text())
        assert inputs["columns"] == {str(source): {"taken": taken, "ignored": []}}


def test_a_run_of_grouped_rows_reads_tables_without_the_group(
    run: Run, home: Path, rows: Rows, quick: list[str], tmp_path: Path
) -> None:
    grouped = table(home / "grouped.csv", (*HEADER, "shop"), [(*row, f"s{i}") for i, row in enumerate(rows)])
    test = table(home / "test.csv", (*HEADER, "shop"), [(*r[:2], f"new {r[2]}", r[3], f"t{r[0]}") for r in rows[:16]])
    settings = (*quick, "--set", "data.group=shop")
    code, _, err = run("fit", grouped, "--out", tmp_path / "run", *settings, "--set", "model=text")
    assert code == 0, err
    assert load(tmp_path / "run").columns == dict(zip(("id", "image", "text", "label"), HEADER, strict=True))
    new = table(home / "no-shop.csv", HEADER, [(*row[:2], f"new {row[2]}", row[3]) for row in rows])
    for verb in ("predict", "evaluate"):
        code, _, err = run(verb, tmp_path / "run", new)
        assert code == 0, err
    code, _, err = run("compare", grouped, "--test", test, "--out", tmp_path / "compared", *settings)
    assert code == 0, err
    inputs = json.loads((tmp_path / "compared" / "inputs.json").read_text())
    taken = dict(zip(("id", "image", "text", "label", "group"), (*HEADER, "shop"), strict=True))
    assert inputs["columns"] == {str(file): {"taken": taken, "ignored": []} for file in (grouped, test)}
    assert (inputs["seeds"], inputs["allow_seen"]) == (1, False)


# ------------------------------------------------------------------ images that are not there


@pytest.mark.parametrize("verb", ["compare", "fit", "tune image", "evaluate", "predict"])
def test_paths_that_start_from_another_folder_stop(
    run: Run, home: Path, fitted: Path, quick: list[str], tmp_path: Path, verb: str
) -> None:
    moved = shutil.copy(home / "listings.csv", tmp_path / "listings.csv")
    arguments = {
        "compare": ("compare", moved, "--out", tmp_path / "out", *quick),
        "fit": ("fit", moved, "--out", tmp_path / "out", *quick),
        "tune image": ("tune", "image", moved, "--out", tmp_path / "out", *quick),
        "evaluate": ("evaluate", fitted, moved, "--out", tmp_path / "out"),
        "predict": ("predict", fitted, moved),
    }[verb]
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    line = err.splitlines()[-1]
    if verb in ("evaluate", "predict"):
        assert line.startswith(f"error: {moved}: 96 of 96 images cannot be read (first: row 'r0': 'pics/0.png': ")
    assert line.startswith(f"error: {moved}: ")
    assert line.endswith(
        f".png': no such file; looked in '{tmp_path}'); set the folder they start from with --set data.root=FOLDER"
    )
    assert not (tmp_path / "out" / "compare.json").exists()
    if verb == "predict":
        assert run(*arguments, "--set", f"data.root={home}")[0] == 0


def test_tune_image_names_unreadable_images(run: Run, home: Path, rows: Rows, quick: list[str], tmp_path: Path) -> None:
    (home / "pics" / "text.png").write_text("soup of the day")
    spoilt = [(row[0], "pics/text.png", *row[2:]) if row[0] in ("r3", "r8") else row for row in rows]
    spoilt[5] = ("r5", "pics/gone.png", *rows[5][2:])
    source = table(home / "spoilt.csv", HEADER, spoilt)
    val = table(home / "val.csv", HEADER, [(*row[:2], f"{row[2]} again", row[3]) for row in rows])
    settings = ("--set", "image.train.epochs=1", "--set", "image.size=48", "--set", "data.test_fraction=0")
    code, _, err = run("tune", "image", source, "--val", val, "--out", tmp_path / "tuned", *quick, *settings)
    assert code == 0, err
    broken = f"image '{home}/pics/text.png' cannot be read (not an image)"
    assert err.splitlines()[:2] == [
        f"{source}: image from 'photo', text from 'title', label from 'category'",
        f"warning: 3 of 96 images cannot be read and count as missing: row 'r3': {broken}, "
        f"row 'r5': image '{home}/pics/gone.png' cannot be read (no such file), row 'r8': {broken}",
    ]


def test_images_that_are_gone_from_the_rows_kept_apart_do_not_stop_a_fit(
    run: Run, home: Path, rows: Rows, quick: list[str], tmp_path: Path
) -> None:
    kept = divide(home / "listings.csv", configure()).test
    assert kept is not None
    gone = set(kept.ids[: 2 * len(kept) // 3])
    spoilt = [(row[0], f"pics/gone-{row[0]}.png", *row[2:]) if row[0] in gone else row for row in rows]
    source = table(home / "apart.csv", HEADER, spoilt)
    code, _, err = run("fit", source, "--out", tmp_path / "run", *quick, "--set", "model=image")
    assert code == 0, err
    assert f"\nwarning: {len(gone)} of {len(kept)} images cannot be read and count as missing: " in err
    assert f"\naccuracy on {len(kept)} rows kept apart: " in err


def test_the_python_way(home: Path, rows: Rows, toy_config: Callable[..., Config], tmp_path: Path) -> None:
    classifier = Classifier(toy_config("model=late")).fit(home / "listings.csv")
    assert classifier.metrics_["columns"]["text"] == "title"
    new = table(tmp_path / "new.csv", ("id", "photo", "words"), [row[:3] for row in rows])
    with pytest.raises(DataError, match=r"^.*new.csv: the run reads a text from column 'title', and this table "):
        classifier.predict(new)
    one = plait.Pairs.from_columns([home / "pics" / "0.png"], [None])
    assert len(classifier.predict(one)) == 1
