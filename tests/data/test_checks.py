from __future__ import annotations

from pathlib import Path

import pytest

from plait.data.checks import require_classes, require_known_labels, require_labels, require_rows
from plait.data.pairs import Pairs
from plait.data.read import read
from plait.errors import DataError


def labelled(*labels: str | None) -> Pairs:
    return Pairs.from_columns(texts=["t"] * len(labels), labels=labels, ids=[f"r{i}" for i in range(len(labels))])


def test_what_is_right_passes() -> None:
    pairs = labelled("b", "a", "b")
    require_rows(pairs)
    assert require_labels(pairs) == ["b", "a", "b"]
    assert require_classes(pairs) == ["a", "b"]
    require_known_labels(pairs, ["a", "b", "c"])
    require_known_labels(labelled("a", None), ["a"])


def test_no_rows() -> None:
    for require in (require_rows, require_labels, require_classes):
        with pytest.raises(DataError) as caught:
            require(labelled())
        assert str(caught.value) == "pairs: no rows; give data with at least one"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,photo,title", "no label column among id, photo, title; name it with data.label=COLUMN"),
        ("id,title,class", "column 'class' holds no label; name another with data.label=COLUMN"),
    ],
)
def test_no_labels(tmp_path: Path, header: str, message: str) -> None:
    file = tmp_path / "titles.csv"
    file.write_text(f"{header}\n1,a.jpg,\n")
    with pytest.raises(DataError) as caught:
        require_labels(read(file))
    assert str(caught.value) == f"{file}: {message}"
    with pytest.raises(DataError) as caught:
        require_labels(labelled(None))
    assert str(caught.value) == "pairs: no labels; give one a row"


def test_the_columns_are_still_known_after_a_selection(tmp_path: Path) -> None:
    file = tmp_path / "titles.csv"
    file.write_text("photo,title\na.jpg,x\nb.jpg,y\n")
    assert read(file).select([1]).columns == ("photo", "title")


def test_some_labels_missing() -> None:
    with pytest.raises(DataError) as caught:
        require_labels(labelled("a", None, None))
    assert str(caught.value) == "pairs: 2 rows have no label (first: id 'r1'); fill it in or take the row out"


def test_one_class() -> None:
    with pytest.raises(DataError) as caught:
        require_classes(labelled("pizza", "pizza"))
    assert str(caught.value) == "pairs: every row has the label 'pizza'; give rows of at least two classes"


def test_unknown_labels() -> None:
    with pytest.raises(DataError) as caught:
        require_known_labels(labelled("soup", "piza", "piza"), ["pizza", "soup"])
    assert str(caught.value) == (
        "pairs: label 'piza' was never seen in training: 2 rows have it (first: id 'r1'); "
        "take the rows out, or train with such rows. Did you mean 'pizza'?"
    )
    with pytest.raises(DataError) as caught:
        require_known_labels(labelled("a", "b", "c", "d", "soup"), ["soup"])
    assert str(caught.value) == (
        "pairs: labels 'a', 'b', 'c' and 1 more were never seen in training: 4 rows have one of them (first: id 'r0'); "
        "take the rows out, or train with such rows."
    )


def test_labels_that_differ_only_by_case_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert require_classes(labelled(*["ramen"] * 12, *["Ramen"] * 30, "tea", "Tea", "soup")) == [
        *("Ramen", "Tea", "ramen", "soup", "tea"),
    ]
    assert capsys.readouterr().err == (
        "warning: pairs: labels that differ only by case: 'Ramen' (30 rows), 'ramen' (12 rows), 'Tea' (1 row), "
        "'tea' (1 row); they are different classes: make them equal if they are meant to be\n"
    )
    require_classes(labelled("ramen", "Tea"))
    assert capsys.readouterr().err == ""
