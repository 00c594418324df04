"""Pairs of texts with scores, and triplets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.data.text_pairs import hold_out, read_text_pairs
from plait.errors import DataError


def write(folder: Path, text: str, name: str = "pairs.tsv") -> str:
    (folder / name).write_text(text, "utf-8")
    return str(folder / name)


def test_scores_are_divided_by_the_largest(tmp_path: Path) -> None:
    pairs = read_text_pairs(write(tmp_path, "text1\ttext2\tscore\na\tb\t5\nc\td\t1.25\n"))
    assert pairs is not None
    assert (pairs.left, pairs.right) == (["a", "c"], ["b", "d"])
    np.testing.assert_array_equal(pairs.scores, np.array([1, 0.25], np.float32))


@pytest.mark.parametrize("header", ["sentence1,sentence2,score", "sentence1,sentence2,label", "score,text2,text1"])
def test_the_usual_names_in_any_order(tmp_path: Path, header: str) -> None:
    cells = {"score": "1", "label": "1"}
    row = ",".join(cells.get(name, name) for name in header.split(","))
    pairs = read_text_pairs(write(tmp_path, f"{header}\n{row}\n", "pairs.csv"))
    assert pairs is not None
    assert (pairs.left[0][-1], pairs.right[0][-1], pairs.scores.tolist()) == ("1", "2", [1.0])


def test_a_triplet_is_two_pairs(tmp_path: Path) -> None:
    pairs = read_text_pairs(write(tmp_path, "anchor\tpositive\tnegative\na\tb\tc\nd\te\tf\n"))
    assert pairs is not None
    rows = list(zip(pairs.left, pairs.right, pairs.scores.tolist(), strict=True))
    assert rows == [("a", "b", 1.0), ("d", "e", 1.0), ("a", "c", 0.0), ("d", "f", 0.0)]


def test_anything_else_is_not_a_table_of_text_pairs(tmp_path: Path) -> None:
    assert read_text_pairs(write(tmp_path, "text\tlabel\na\tb\n")) is None
    assert read_text_pairs(str(tmp_path)) is None
    assert read_text_pairs(str(tmp_path / "missing.tsv")) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a\tb\thigh", "row 2: score 'high' is not a number of at least 0"),
        ("a\tb\t-1", "row 2: score '-1' is not a number of at least 0"),
        ("a\tb\tnan", "row 2: score 'nan' is not a number of at least 0"),
        ("a\t \t1", "row 2: no text in column 'text2'; fill it in or remove the row"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    source = write(tmp_path, f"text1\ttext2\tscore\nx\ty\t1\n{row}\n")
    with pytest.raises(DataError) as caught:
        read_text_pairs(source)
    assert str(caught.value) == f"{source}, {message}"


def test_a_table_without_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows; give at least two"):
        read_text_pairs(write(tmp_path, "text1\ttext2\tscore\n"))


def test_holding_out_takes_every_pair_once(tmp_path: Path) -> None:
    rows = "".join(f"l{i}\tr{i}\t{i}\n" for i in range(20))
    pairs = read_text_pairs(write(tmp_path, f"text1\ttext2\tscore\n{rows}"))
    assert pairs is not None
    train, held = hold_out(pairs, 0.2, seed=1)
    assert (len(train), len(held)) == (16, 4)
    assert sorted(train.left + held.left) == sorted(pairs.left)
    assert all(
        left[1:] == right[1:] for part in (train, held) for left, right in zip(part.left, part.right, strict=True)
    )
