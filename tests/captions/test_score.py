"""How good captions are, and when they have collapsed."""

from __future__ import annotations

import pytest

from plait.captions.score import Score, cider, score, words

TEXTS = [
    "a red plate on a table",
    "two blue shoes in a box",
    "one green shirt for small men",
    "the yellow bag of a girl",
]


def test_words_are_those_of_the_coco_evaluation() -> None:
    assert words("  A red-ish Plate, (large)! ") == "a red ish plate large"


def test_cider_of_hand_made_captions() -> None:
    assert cider(TEXTS, TEXTS) == pytest.approx(10.0)  # every n-gram of 1 to 4 words found
    assert cider(["nothing said here now"] * 4, TEXTS) == 0.0
    assert 0.0 < cider(TEXTS[1:] + TEXTS[:1], TEXTS) < 0.5  # "a" is in nearly all, and says little
    two = ["red plate", "blue shoes"]
    assert cider(two, two) == pytest.approx(5.0)  # there are no n-grams of 3 and 4 words


def test_shares_are_counted_on_words() -> None:
    found = score(["A plate.", "a plate", "a shoe", "a shoe!"], TEXTS)
    assert (found.distinct, found.wanted, found.times, found.rows) == (0.5, 1.0, 2, 4)
    assert not found.collapsed


def test_one_sentence_for_all_is_a_collapse() -> None:
    found = score(["a photo"] * 3 + ["a shoe"], TEXTS)
    assert found.collapsed
    assert found.alarm(1e-4) == (
        "captions have collapsed: 3 of 4 validation images get 'a photo'; lower caption.lr (it is 0.0001), tune by "
        "LoRA (caption.lora=8), or give more rows with texts that differ"
    )


@pytest.mark.parametrize(
    ("distinct", "wanted", "times", "collapsed"),
    [(0.5, 1.0, 10, False), (0.09, 1.0, 10, True), (0.5, 1.0, 51, True), (0.01, 0.01, 60, False)],
    ids=["varied", "few", "common", "as-people-wrote"],
)
def test_what_counts_as_collapsed(distinct: float, wanted: float, times: int, collapsed: bool) -> None:
    assert Score(1.0, distinct, wanted, "a", times, 100).collapsed == collapsed


def test_nothing_to_judge() -> None:
    with pytest.raises(ValueError, match=r"^1 captions of 2 texts$"):
        score(["a"], ["a", "b"])
