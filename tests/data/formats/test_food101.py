from __future__ import annotations

import json
from pathlib import Path

import pytest

from plait.data.pairs import Pairs
from plait.data.read import read
from plait.errors import DataError

TRAIN = [
    # line in the file, then the title, file and class that it must become
    ("apple_pie_0.jpg,Easy apple pie,apple_pie", "Easy apple pie", "apple_pie_0.jpg"),
    ("apple_pie_1.jpg,Pie, tarts, and more,apple_pie", "Pie, tarts, and more", "apple_pie_1.jpg"),
    ('apple_pie_2.jpg,"Quoted, with ""marks""",apple_pie', 'Quoted, with "marks"', "apple_pie_2.jpg"),
    ('apple_pie_3.jpg,"Stray opening quote,apple_pie', '"Stray opening quote', "apple_pie_3.jpg"),
    ('apple_pie_4.jpg,A 9" pie tin,apple_pie', 'A 9" pie tin', "apple_pie_4.jpg"),
    ('apple_pie_5.jpg,"Best" pie and "worst",apple_pie', '"Best" pie and "worst"', "apple_pie_5.jpg"),
    ("apple_pie_6.jpg,Grandma&#8217;s pie | Recipes'],apple_pie", "Grandma&#8217;s pie | Recipes", "apple_pie_6.jpg"),
    ("apple_pie_7.jpg,['Bracketed pie'],apple_pie", "Bracketed pie", "apple_pie_7.jpg"),
    ("sushi_0.txt,From the page,sushi", "From the page", "sushi_0.jpg"),
    ("images/train/sushi/sushi_1.jpg,With its folders,sushi", "With its folders", "sushi_1.jpg"),
    ('sushi_2.jpg,"Title over\ntwo lines, yes",sushi', "Title over\ntwo lines, yes", "sushi_2.jpg"),
    ("sushi_3.jpg,,sushi", None, "sushi_3.jpg"),
    ("sushi_4.jpg,Its image is gone,sushi", "Its image is gone", "sushi_4.jpg"),
]
TEST = [("sushi_90.jpg,Last,sushi", "Last", "sushi_90.jpg")]


def kaggle(folder: Path, train: list[str], header: str = "", end: str = "\n") -> Path:
    images = [("train", name) for _, _, name in TRAIN] + [("test", name) for _, _, name in TEST]
    for split, name in images:
        file = folder / "images" / split / name.rsplit("_", 1)[0] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name != "sushi_4.jpg":
            file.write_bytes(name.encode())
    (folder / "images" / "train" / "sushi" / "sushi_77.jpg").write_bytes(b"untitled")
    (folder / "texts").mkdir()
    (folder / "texts" / "train_titles.csv").write_bytes((header + end.join(train) + end).encode())
    (folder / "texts" / "test_titles.csv").write_bytes(end.join(line for line, _, _ in TEST).encode())
    return folder


def check(pairs: Pairs, folder: Path) -> None:
    expected = [(text, name) for _, text, name in TRAIN] + [(None, "sushi_77.jpg")] + [(t, n) for _, t, n in TEST]
    assert pairs.texts == [text for text, _ in expected]
    splits = ["train"] * 14 + ["test"]
    labels = [name.rsplit("_", 1)[0] for _, name in expected]
    places = [f"{s}/{label}/{name}" for s, label, (_, name) in zip(splits, labels, expected, strict=True)]
    assert pairs.labels == labels
    assert pairs.ids == places
    assert [ref and ref.path for ref in pairs.images()] == [f"{folder}/images/{place}" for place in places]
    assert {name: rows.tolist() for name, rows in pairs.splits.items()} == {"train": [*range(14)], "test": [14]}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_kaggle_layout_to_the_last_row(tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str) -> None:
    folder = kaggle(tmp_path / "food", [line.replace("\n", end) for line, _, _ in TRAIN], end=end)
    check(read(folder), folder)
    assert capsys.readouterr().err.splitlines() == [
        f"{folder}: titles without an image file: 1 (sushi_4.jpg); kept",
        f"{folder}: images without a title: 2 (sushi_3.jpg, sushi_77.jpg); kept",
    ]
    assert read(f"{folder}#test").texts == ["Last"]


def test_kaggle_variant_with_header_and_index(tmp_path: Path) -> None:
    lines = [f"{number},{line}" for number, (line, _, _) in enumerate(TRAIN)]
    folder = kaggle(tmp_path / "food", lines, header="\ufeff,image_path,text,food\n")
    check(read(folder), folder)


def test_kaggle_many_stray_quotes_swallow_no_line(tmp_path: Path) -> None:
    lines = [f"sushi_{n}.jpg,{chr(34) if n % 3 == 0 else ''}title {n},sushi" for n in range(100, 400)]
    pairs = read(f"{kaggle(tmp_path / 'food', lines)}#train")
    assert [text for text in pairs.texts if text and "title" in text] == [line.split(",")[1] for line in lines]


def test_kaggle_one_image_with_two_titles(tmp_path: Path) -> None:
    folder = kaggle(tmp_path / "food", ["sushi_0.jpg,one,sushi", "sushi_0.jpg,two,sushi"])
    assert read(folder).ids[:2] == ["train/sushi/sushi_0.jpg", "train/sushi/sushi_0.jpg#2"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sushi_1.jpg,only a title", "line 2: fewer than three fields; write image,title,class"),
        (
            "sushi_1.jpg,a title, no class",
            "line 2: the last field, 'no class', is no class: train has no such folder; end the row with its class",
        ),
    ],
)
def test_kaggle_malformed_row(tmp_path: Path, line: str, message: str) -> None:
    folder = kaggle(tmp_path / "food", ["sushi_0.jpg,fine,sushi", line])
    with pytest.raises(DataError) as caught:
        read(folder)
    assert str(caught.value) == f"{folder}/texts/train_titles.csv, {message}"


def test_kaggle_first_line_that_is_no_row(tmp_path: Path) -> None:
    folder = kaggle(tmp_path / "food", ["what is this"])
    with pytest.raises(DataError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"{folder}/texts/train_titles.csv, line 1: the row does not begin with an image; write image,title,class"
    )


def test_mmbt_layout(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("dev", 1), ("test", 2)):
        rows = [
            {
                "id": f"{n}",
                "label": "sushi",
                "text": "" if n == 2 else f"{split} 8226 {n}",
                "img": f"images/{split}/{n}.jpg",
            }
            for n in range(count)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pairs = read(tmp_path)
    assert pairs.texts == ["train 8226 0", "train 8226 1", None, "dev 8226 0", "test 8226 0", "test 8226 1"]
    assert pairs.ids == ["train/0", "train/1", "train/2", "val/0", "test/0", "test/1"]
    assert {name: len(rows) for name, rows in pairs.splits.items()} == {"train": 3, "val": 1, "test": 2}
    assert next(ref.path for ref in pairs.images() if ref) == f"{tmp_path}/images/train/0.jpg"
