"""Distilling a text encoder into static vectors of words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ordered import TRAIN, VAL
from sentence_transformers import SentenceTransformer

import plait
from plait.cli import app
from plait.config import configure
from plait.encoders.text import SentenceEncoder
from plait.training.encoders.static import distil, words_of

pytest.importorskip("model2vec.distill")
TEXTS, OTHERS = [str(text) for text in TRAIN[0]], [str(text) for text in VAL[0]]


def options(*overrides: str) -> plait.Config:
    return configure(overrides=["text.static.dim=16", "text.static.epochs=3", "text.static.min_count=1", *overrides])


def test_words_are_counted_by_texts() -> None:
    texts = ["Miso ramen ramen", "miso soup, 2 bowls", "Soup's on", "x y"]
    assert words_of(texts, 2) == ["miso", "soup"]
    assert words_of(texts, 1) == ["miso", "soup", "bowls", "on", "ramen"]


def test_the_student_learns_to_be_like_its_teacher(text_encoder: SentenceEncoder, tmp_path: Path) -> None:
    found = distil(text_encoder, TEXTS, OTHERS, options().text)
    cosines = [epoch["val_cosine"] for epoch in found.curve]
    assert len(cosines) == 3
    assert cosines[-1] > cosines[0] + 0.2
    assert found.encoder.dim == 16
    # The vector of a text is the mean of those of its words.
    one, two, both = found.encoder.encode(["red", "soup", "red soup"])
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-5)
    again = distil(text_encoder, TEXTS, OTHERS, options().text)
    assert again.encoder.fingerprint == found.encoder.fingerprint
    found.encoder.save(tmp_path / "saved")
    loaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(["red soup"])
    np.testing.assert_allclose(loaded[0], both, atol=1e-6)


def test_the_command_leaves_an_encoder_for_the_others(
    drawn: plait.Pairs, text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    table = str(tmp_path / "drawn.parquet")
    pq.write_table(drawn.table.with_format("arrow")[:], table)
    sets = ["text.static.epochs=2", "text.static.dim=16", "device=cpu"]
    words = [word for one in (f"text.model={text_folder}", *sets) for word in ("--set", one)]
    app(["tune", "static", table, "--out", str(tmp_path / "fast"), *words], standalone_mode=False)
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "fast")
    assert "validation cosine 0." in printed.err
    assert "vocabulary" not in printed.err
    classifier = plait.Classifier(configure(overrides=[f"text.model={tmp_path / 'fast'}", "model=text", "device=cpu"]))
    classifier.fit(drawn).save(tmp_path / "run")
    assert (plait.load(tmp_path / "run").predict(drawn) == classifier.predict(drawn)).all()
