"""Captions in the place of missing texts: what they count for, how runs keep them, what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.inference.fill import CAPTION, Fill, mixed
from plait.inference.predictions import rows as answers_of
from plait.pipeline import classifier as pipeline
from plait.pipeline import fill as fitting
from plait.pipeline.evaluate import evaluate
from plait.pipeline.fill import fit_fill
from twins import make_captioner_folder

ToyConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def rows() -> Pairs:
    return plait.draw(rows=400, seed=5, size=32)


@pytest.fixture(scope="module")
def fitted(rows: Pairs, toy_config: ToyConfig) -> plait.Classifier:
    return plait.Classifier(toy_config("text.model=tfidf", "model=late", "head.late=product")).fit(rows)


class Told:
    """A captioner that is told what to write, image by image in turn."""

    name, fingerprint = "told", "0"

    def __init__(self, texts: Sequence[str]):
        self.texts = list(texts)

    def caption(self, images: Sequence[Any]) -> list[str]:
        return [self.texts.pop(0) for _ in images]

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def held(fitted: plait.Classifier) -> tuple[Pairs, np.ndarray]:
    """New rows that have both, and their class numbers."""
    new = plait.draw(rows=400, seed=6, size=32)
    new = new.select(np.flatnonzero(new.has_image & new.has_text))
    return new, np.array([fitted.classes_.tolist().index(label) for label in new.labels])


def test_the_pool_of_hand_made_probabilities() -> None:
    blank, filled = np.array([[0.8, 0.2]]), np.array([[0.2, 0.8]])
    assert np.allclose(mixed(blank, filled, 0.0), blank)
    assert np.allclose(mixed(blank, filled, 1.0), filled)
    assert np.allclose(mixed(blank, filled, 0.5), [[0.5, 0.5]])
    assert np.allclose(mixed(blank, filled, 0.25)[0, 0], 2**0.5 / (2**0.5 + 0.5**0.5))  # odds 4^0.75 · 4^-0.25


@pytest.mark.parametrize("helpful", [True, False])
def test_captions_count_where_they_gain(
    helpful: bool, fitted: plait.Classifier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new, targets = held(fitted)
    texts = [f"{text}" if helpful else "something on a table" for text in new.texts]
    monkeypatch.setattr(fitting, "load_captioner", lambda name: Told(texts))
    engine = fitted.require_fitted()
    engine.config = engine.config.model_copy(
        update={"text": engine.config.text.model_copy(update={"fill": "captioner"})}
    )
    facts = fit_fill(engine, new, targets)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert facts["rows"] == len(new)
    if helpful:
        assert facts["weight"] > 0
        assert facts["val_loss"]["filled"] < facts["val_loss"]["blank"]
        assert engine.fill is not None
        assert said.startswith(f"text.fill: captions count {facts['weight']:g}: validation loss ")
    else:
        assert facts["weight"] == 0
        assert engine.fill is None
        assert said == (
            "text.fill: captions gain nothing on validation rows and count for nothing; rows are answered by the image"
        )
    engine.fill = None


def test_only_rows_without_a_text_are_filled(fitted: plait.Classifier) -> None:
    new, _ = held(fitted)
    texts = [None if i % 2 else text for i, text in enumerate(new.texts)]
    pairs = Pairs.from_columns(list(new.images()), texts)
    engine = fitted.require_fitted()
    blank = engine.predict_proba(pairs)
    gone = [str(text) for text, kept in zip(new.texts, texts, strict=True) if kept is None]
    engine.fill = Fill(Told(gone), 1.0)
    features = engine.features(pairs)
    captions = engine.captions
    found, whole = (
        engine.probabilities(features),
        engine.predict_proba(Pairs.from_columns(list(new.images()), new.texts)),
    )
    own = np.array([text is not None for text in texts])
    assert np.array_equal(found[own], blank[own])
    assert np.allclose(found[~own], whole[~own], atol=1e-6)  # as if the caption were the row's own text
    assert [text is not None for text in captions] == (~own).tolist()
    told = answers_of(pairs, engine.labels, found, engine.effects(features), captions)
    assert [one["machine_text"] for one in told] == captions
    assert {one["effect_caption"] for one, has in zip(told, own, strict=True) if has} == {0.0}
    engine.fill = None


def test_a_run_keeps_its_captioner(
    rows: Pairs, toy_config: ToyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = make_captioner_folder("git", tmp_path / "git")
    real = fitting._fitted

    def counts_half(*arguments: Any) -> Any:
        found = real(*arguments)
        return fitting.FittedFill(0.5, found.rows, found.blank, found.filled)

    monkeypatch.setattr(fitting, "_fitted", counts_half)
    config = toy_config("text.model=tfidf", "model=late", "data.val_fraction=0.3", f"text.fill={folder}")
    classifier = pipeline.Classifier(config).fit(rows)
    classifier.save(tmp_path / "run")
    engine = plait.load(tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["metrics"]["fill"]["weight"] == 0.5
    assert "captioner/model.safetensors" in manifest["files"]
    new = plait.draw(rows=60, seed=8, size=32)
    blanked = Pairs.from_columns(list(new.images()), [None] * 60, new.labels)
    features = engine.features(blanked)
    assert np.array_equal(engine.probabilities(features), classifier.predict_proba(blanked))
    assert CAPTION in features
    capsys.readouterr()
    evaluate(engine, blanked)
    told = [line for line in capsys.readouterr().err.splitlines() if "without a text were captioned" in line]
    assert len(told) == 1
    engine.without_captions("the server")
    assert "the server leaves missing texts blank: captions stand in for them in predict and evaluate alone" in (
        capsys.readouterr().err
    )
    assert not np.array_equal(engine.predict_proba(blanked), classifier.predict_proba(blanked))


def test_what_captions_can_do_nothing_for(
    fitted: plait.Classifier, toy_config: ToyConfig, rows: Pairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_captioner_folder("git", tmp_path / "git")
    engine = plait.Classifier(toy_config("model=text", "text.model=tfidf", f"text.fill={folder}")).fit(rows).engine_
    assert engine.fill is None
    assert f"text.fill={folder} does nothing here: model text does not read both image and text" in (
        capsys.readouterr().err
    )
    new, targets = held(fitted)
    engine = fitted.require_fitted()
    engine.config = engine.config.model_copy(
        update={"text": engine.config.text.model_copy(update={"fill": str(folder)})}
    )
    assert fit_fill(engine, new.select(range(8)), targets[:8]) == {"model": str(folder), "weight": 0.0, "rows": 8}
    assert capsys.readouterr().err.endswith(
        f"text.fill: 8 validation rows have both an image and a text that '{folder}' has not learnt from, fewer than "
        "30: captions count for nothing\n"
    )
