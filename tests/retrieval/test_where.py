"""Filters: what is taken apart, what is refused, and that nothing else gets through."""

from __future__ import annotations

import pytest

from plait.errors import DataError
from plait.retrieval.where import Column, sql

COLUMNS = {
    "id": Column("id"),
    "label": Column("label"),
    "base colour": Column("c0"),
    "price": Column("c1", number=True),
}
SHAPE = "write COLUMN = VALUE, with =, !=, <, <=, > or >=; several joined by 'and', values with spaces in quotes"


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("label = soup", "label = 'soup'"),
        ("label=soup", "label = 'soup'"),
        ("label = miso ramen", "label = 'miso ramen'"),
        ("label != 'miso and ramen'", "label != 'miso and ramen'"),
        ("price <= 5", "c1 <= 5.0"),
        ("price > -0.5", "c1 > -0.5"),
        ('"base colour" = "Navy Blue" and price >= 1e3', "c0 = 'Navy Blue' AND c1 >= 1000.0"),
        ("label = sand AND id = land", "label = 'sand' AND id = 'land'"),
        ("label = 'it''s'", "label = 'it''s'"),
        ('label = "it\'s"', "label = 'it''s'"),
        ("label = ''", "label = ''"),
    ],
)
def test_comparisons(where: str, wanted: str) -> None:
    assert sql(where, COLUMNS) == wanted


@pytest.mark.parametrize(
    "where",
    ["", " ", "label", "= soup", "label = ", "label = a or id = b = c", "label == soup", "label = 'soup",
     "label = a and", "label = soup' OR '1'='1", "1 = 1; drop table rows = x", "label in (a)",
     "label = soup and salad"],
)  # fmt: skip
def test_anything_else_is_refused(where: str) -> None:
    with pytest.raises(DataError) as caught:
        sql(where, COLUMNS)
    assert str(caught.value) == f"where '{where}' is no comparison; {SHAPE}"


@pytest.mark.parametrize(
    "value", ["x' OR '1'='1", "x'; DROP TABLE rows; --", "\\' OR 1=1", "x' /*", "'", "''", "\0", "x\n' OR true"]
)
def test_hostile_values_stay_values(value: str) -> None:
    """Whatever is in quotes comes out as one quoted literal: inner quotes are doubled, and nothing ends it."""
    made = sql(f'label = "{value}"', COLUMNS)
    assert made.startswith("label = '")
    assert made.endswith("'")
    assert "'" not in made[len("label = '") : -1].replace("''", "")


def test_unknown_columns() -> None:
    with pytest.raises(DataError) as caught:
        sql("pirce < 5", COLUMNS)
    assert str(caught.value) == (
        "where: the index has no column 'pirce'; keep it with keep when it is built. Did you mean 'price'?"
    )
    with pytest.raises(DataError, match="no column '1'"):
        sql("1 = 1", COLUMNS)
    with pytest.raises(DataError, match="no column 'c1'"):
        sql("c1 = 1", COLUMNS)


@pytest.mark.parametrize("value", ["cheap", "nan", "inf", "1e999"])
def test_numbers(value: str) -> None:
    with pytest.raises(DataError) as caught:
        sql(f"price < {value}", COLUMNS)
    assert str(caught.value) == (f"where: column 'price' holds numbers and '{value}' is none; compare it with a number")


def test_long_ones() -> None:
    with pytest.raises(DataError, match=r"^where has 2,008 characters, more than 1,000; shorten it$"):
        sql("label = " + "x" * 2000, COLUMNS)
