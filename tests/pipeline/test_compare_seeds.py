"""`compare` repeated with other seeds, and the test rows that repeat training rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.data.sketch import SEEN
from plait.errors import ConfigError
from plait.pipeline.compare import repeated
from plait.report.results import Evaluation
from plait.report.summary import summary
from toys import make_image_folder, picture


@pytest.fixture(scope="module")
def compared(drawn: Pairs, toy_config: Callable[..., Config]) -> dict[int, Evaluation]:
    """The same comparison with one training and with three."""
    config = toy_config("text.model=tfidf", "data.test_fraction=0.4", "seed=5")
    return {seeds: plait.compare(drawn, config=config, seeds=seeds) for seeds in (1, 3)}


def test_the_first_training_is_the_one_without_further_seeds(compared: dict[int, Evaluation]) -> None:
    one, three = compared[1], compared[3]
    assert three.pairs.ids == one.pairs.ids
    assert summary(three)["rows"] == summary(one)["rows"]
    for name, model in one.models.items():
        np.testing.assert_array_equal(three.models[name].probabilities, model.probabilities)
        assert three.models[name].note == model.note
        assert model.further == []
        assert len(three.models[name].further) == 2
    assert "seeds" not in summary(one)["models"]["late"]


def test_further_seeds_train_anew_on_the_same_test_rows(compared: dict[int, Evaluation]) -> None:
    evaluation = compared[3]
    answers = [evaluation.models["early"].answers, *evaluation.models["early"].further]
    assert [one.shape for one in answers] == [(len(evaluation.targets),)] * 3
    assert not all((one == answers[0]).all() for one in answers[1:])
    seeds = summary(evaluation)["models"]["early"]["seeds"]
    shares = [float((one == evaluation.targets).mean()) for one in answers]
    assert seeds["accuracies"] == pytest.approx(shares, abs=1e-6)
    assert seeds["std"] == pytest.approx(np.std(shares, ddof=1), abs=1e-6)


def test_encoders_that_are_trained_in_the_run_are_trained_again(
    drawn: Pairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    config = plait.configure(
        overrides=[
            f"image.model=local-dir:{make_image_folder(tmp_path / 'image')}", "image.tune=true", "image.workers=0",
            "image.train.stages=[{size: 32, epochs: 1}]", "text.model=tfidf", "train.epochs=2", "head.folds=2",
            "head.hidden=8", "device=cpu", f"store={store}",
        ]
    )  # fmt: skip
    plait.compare(drawn, config=config, seeds=2)
    tuned = sorted(store.glob("encoders/*/"))
    assert len(tuned) == 2
    first, second = ((folder / SEEN).read_bytes() for folder in tuned)
    assert first == second  # the same training rows
    assert "training 2 of 2: seed 1\n" in capsys.readouterr().err


def test_seeds_must_be_one_or_more(drawn: Pairs) -> None:
    with pytest.raises(ConfigError, match=r"^seeds is 0; give 1 or more$"):
        plait.compare(drawn, seeds=0)


def test_repeated_rows_are_told_by_content(tmp_path: Path) -> None:
    file = tmp_path / "same.png"
    file.write_bytes(picture(3))
    known = [
        Pairs.from_columns([picture(1), None], ["a soup", None]),
        Pairs.from_columns([picture(3), "gone.png"], ["", "a cake"]),
    ]
    test = Pairs.from_columns(
        [picture(1), picture(2), file, None, "gone.png"],
        ["a pie", "a cake", "A soup", None, "a soup"],
    )
    found = repeated(test, known)
    # A missing text or image, or a file that is not there, repeats nothing.
    assert {side: rows.tolist() for side, rows in found.items()} == {
        "text": [False, True, False, False, True],
        "image": [True, False, True, False, False],
    }


def test_compare_counts_repeats_of_training_and_validation_rows(
    drawn: Pairs, toy_config: Callable[..., Config]
) -> None:
    test = Pairs.from_columns(list(map(asdict, drawn.images())), [f"new {i}" for i in range(64)], drawn.labels)
    train, val = drawn.select(range(0, 64, 2)), drawn.select(range(1, 32, 2))
    config = toy_config("text.model=tfidf", "train.epochs=1")
    evaluation = plait.compare(train, test, config, val)
    assert evaluation.repeated is not None
    assert np.flatnonzero(evaluation.repeated["image"]).tolist() == sorted({*range(0, 64, 2), *range(1, 32, 2)})
    assert not evaluation.repeated["text"].any()
    assert summary(evaluation)["repeated"] == {"text": 0, "image": 48, "any": 48}
    assert summary(evaluation)["models"]["image"]["fresh"]["rows"] == 16
