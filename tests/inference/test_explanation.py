"""Attribution over an engine made by hand, whose answer hangs on one cell of the picture and on single words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from plait.inference.explanation import AT_ONCE, GRID, MOST_WORDS, attribute
from toy_engine import BLUE, LABELS, RED, Eye, head, make_engine, pixels


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_the_cell_that_the_answer_hangs_on() -> None:
    engine = make_engine()
    found = attribute(engine, pixels(), None)
    assert LABELS[found.label] == "ramen"
    assert found.picture is not None
    assert found.picture.shape == (GRID, GRID)
    assert np.unravel_index(found.picture.argmax(), found.picture.shape) == RED
    assert found.picture[RED] > 1.2 * np.sort(found.picture, axis=None)[-2]
    assert np.abs(found.picture[:3, :3]).max() < 1e-6  # far from where it looks


def test_a_cell_that_speaks_against() -> None:
    found = attribute(make_engine(), pixels(blue=True), "ramen")
    assert found.picture is not None
    assert np.unravel_index(found.picture.argmin(), found.picture.shape) == BLUE
    assert found.picture[BLUE] < 0 < found.picture[RED]


def test_words_are_worth_what_the_label_loses_without_them() -> None:
    """Against log-odds worked out from the engine's probabilities of the texts themselves."""
    engine = make_engine()
    text, label = "hot ramen no salad", LABELS.index("ramen")
    found = attribute(engine, None, text, label)
    assert found.words is not None
    assert [word for word, _ in found.words] == text.split()

    def odds(words: str) -> float:
        return log_odds(float(engine.probabilities(engine.encode([None], [words]))[0, label]))

    shorter = ["ramen no salad", "hot no salad", "hot ramen salad", "hot ramen no"]
    expected = [odds(text) - odds(rest) for rest in shorter]
    assert [value for _, value in found.words] == pytest.approx(expected, abs=1e-5)
    assert expected[1] > 1 > 0 > expected[3]
    assert expected[0] == expected[2] == 0


def test_a_single_word_is_worth_the_whole_text() -> None:
    engine = make_engine()
    found = attribute(engine, None, "ramen")
    full, hidden = engine.encode([None], ["ramen"]), engine.encode([None], [None])
    losses = [log_odds(float(engine.probabilities(one)[0, found.label])) for one in (full, hidden)]
    assert found.words == [("ramen", pytest.approx(losses[0] - losses[1], abs=1e-5))]


def test_the_other_modality_is_held() -> None:
    """A picture is worth less, in probability, beside a title that says the same; in these log-odds too."""
    engine = make_engine()
    alone, beside = attribute(engine, pixels(), None), attribute(engine, pixels(), "salad", LABELS.index("ramen"))
    assert alone.picture is not None
    assert beside.picture is not None
    assert alone.label == beside.label
    assert not np.allclose(alone.picture, beside.picture)


@pytest.mark.parametrize(
    ("modalities", "shown", "text", "has"),
    [
        ((), True, None, (True, False)),
        ((), True, "  ", (True, False)),
        ((), False, "ramen", (False, True)),
        ((), False, None, (False, False)),
        (("image",), True, "ramen", (True, False)),
        (("text",), True, "ramen", (False, True)),
    ],
)
def test_hidden_modalities_give_nothing(modalities: tuple[str, ...], shown: bool, text: str | None, has: Any) -> None:
    found = attribute(make_engine(*modalities), pixels() if shown else None, text)
    assert (found.picture is not None, found.words is not None) == has


def test_the_same_again() -> None:
    first, second = (attribute(make_engine(), pixels(blue=True), "ramen and salad") for _ in range(2))
    assert first.words == second.words
    assert first.picture is not None
    assert first.picture.tolist() == second.picture.tolist()  # type: ignore[union-attr]


def test_long_texts_take_no_longer() -> None:
    text = " ".join(["so"] * 300 + ["ramen"] + ["on"] * 99)
    found = attribute(make_engine(), None, text)
    assert found.words is not None
    assert len(found.words) == 400
    worth = [number for number, (_, value) in enumerate(found.words) if value > 0.1]
    assert 300 in worth
    assert len(worth) <= -(-400 // MOST_WORDS)
    assert worth == list(range(worth[0], worth[-1] + 1))  # neighbours, taken together


def test_batches_are_small() -> None:
    engine = make_engine()
    attribute(engine, pixels(), "ramen")
    eye = engine.encoders.image
    assert isinstance(eye, Eye)
    assert max(eye.batches) <= AT_ONCE
    assert sum(eye.batches) <= GRID**2 + 2


def test_sure_answers_still_have_a_place() -> None:
    """Where a probability is 1 to every digit of float32, log-odds go on telling."""
    engine = make_engine()
    engine.head = lambda features: 30 * head(features)
    found = attribute(engine, pixels(), None)
    assert engine.probabilities(engine.encode([pixels()], [None]))[0].max() == 1
    assert found.picture is not None
    assert np.unravel_index(found.picture.argmax(), found.picture.shape) == RED
    assert np.isfinite(found.picture).all()
