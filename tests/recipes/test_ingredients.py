"""Lists of ingredients as sets."""

from __future__ import annotations

import pytest

from plait.recipes.ingredients import f1, ingredients_of, iou, named_in


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("200 g Flour, 2 eggs; salt (to taste)", {"flour", "eggs", "salt"}),
        ('["1 1/2 cups of sugar", "Butter"]', {"sugar", "butter"}),
        ("½ tsp. vanilla\n1,5 l milk\n", {"vanilla", "milk"}),
        ("gelatine|garlic", {"gelatine", "garlic"}),  # a "g" that is no unit
        ("", set()),
        (None, set()),
    ],
)
def test_names_without_amounts(value: str | None, wanted: set[str]) -> None:
    assert ingredients_of(value) == wanted


def test_sets_against_hand_made_numbers() -> None:
    a, b = {"flour", "eggs", "milk"}, {"flour", "eggs", "salt", "sugar"}
    assert f1(a, b) == pytest.approx(4 / 7)  # 2 in common of 3 and 4
    assert iou(a, b) == pytest.approx(2 / 5)
    assert (f1(a, a), iou(a, a), f1(a, {"rice"}), iou(set(), a)) == (1.0, 1.0, 0.0, 0.0)
    assert f1([], []) == iou([], []) == 1.0


def test_whole_words_and_the_longest_first() -> None:
    known = ["rice", "rice vinegar", "egg", "salt"]
    assert named_in("Stir the rice vinegar into eggs.", known) == {"rice vinegar"}
    assert named_in("Rice, then RICE-VINEGAR, salt", known) == {"rice", "rice vinegar", "salt"}
