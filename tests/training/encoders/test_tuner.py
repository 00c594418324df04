"""Encoders tuned on the rows: once for the same rows, and not trusted on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import plait
from plait.cli import app
from plait.config import Config
from plait.data.pairs import Pairs
from plait.errors import DataError
from plait.pipeline.prepare import Preparation
from plait.training.encoders.folder import facts_of

QUICK = ("image.size=32", "image.train.epochs=2", "text.train.epochs=1")


def run(*words: str) -> None:
    app(list(words), standalone_mode=False)


@pytest.fixture
def table(drawn: Pairs, tmp_path: Path) -> Path:
    import pyarrow.parquet as pq

    pq.write_table(drawn.table.with_format("arrow")[:], tmp_path / "drawn.parquet")
    return tmp_path / "drawn.parquet"


@pytest.mark.parametrize("modality", ["image", "text"])
def test_tuned_once_for_the_same_rows(modality: str, drawn: Pairs, toy_config: Callable[..., Config]) -> None:
    config = toy_config(f"{modality}.tune=true", *QUICK)
    first, again = (Preparation(drawn, config) for _ in range(2))
    one, two = (getattr(prepared.make_encoders(), modality) for prepared in (first, again))
    prints = [e[0].fingerprint if isinstance(e, list) else e.fingerprint for e in (one, two)]
    assert prints[0] == prints[1]
    assert f"tune_{modality}" in first.seconds
    assert f"tune_{modality}" not in again.seconds
    assert first.curves[modality] == again.curves[modality]
    assert first.seen == {modality}
    other = Preparation(drawn, config.model_copy(update={"seed": 1}))
    assert other.tuner.key(modality) != first.tuner.key(modality)


def test_what_tfidf_knows_beside_a_network_changes_nothing_in_its_tuning(
    drawn: Pairs, toy_config: Callable[..., Config], text_folder: Path
) -> None:
    models = (str(text_folder), f"tfidf + {text_folder}")
    alone, joined = (Preparation(drawn, toy_config(f"text.model={m}", "text.tune=true", *QUICK)) for m in models)
    (network,), (tfidf, same) = alone.make_encoders().text, joined.make_encoders().text
    assert (tfidf.name, same.fingerprint) == ("tfidf", network.fingerprint)
    assert "tune_text" not in joined.seconds
    assert joined.seen == {"text"}
    plain = Preparation(drawn, toy_config(f"text.model={text_folder}")).make_encoders().text[0]
    assert plain.fingerprint != same.fingerprint


@pytest.mark.parametrize(("modality", "beside"), [("image", ""), ("text", ""), ("text", "+tfidf")])
def test_a_folder_tuned_on_these_rows_is_known_to_be(
    modality: str, beside: str, drawn: Pairs, toy_config: Callable[..., Config], tmp_path: Path
) -> None:
    Preparation(drawn, toy_config(*QUICK)).tuner.tune(modality, tmp_path / "tuned")
    assert facts_of(tmp_path / "tuned")["labels"] == sorted(set(drawn.labels))  # type: ignore[type-var]
    prefix = "local-dir:" if modality == "image" else ""
    frozen = toy_config(f"{modality}.model={prefix}{tmp_path / 'tuned'}{beside}")
    assert Preparation(drawn, frozen).seen == {modality}
    new = plait.draw(rows=64, seed=9, size=32)
    assert Preparation(new, frozen).seen == set()


@pytest.mark.parametrize("clean", ["true", "false"])
def test_an_encoder_remembers_whether_its_texts_were_cleaned(
    clean: str, drawn: Pairs, toy_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tuned"
    Preparation(drawn, toy_config(f"text.clean={clean}", *QUICK)).tuner.tune("text", folder)
    for later in ("true", "false"):
        capsys.readouterr()
        config = toy_config(f"text.model={folder}+tfidf", f"text.clean={later}")
        assert Preparation(drawn, config, ("text",)).make_encoders().text
        how = {"true": "cleaned", "false": "not cleaned"}[clean]
        warning = f"warning: '{folder}' was trained on texts that were {how}; text.clean={clean}"
        assert (warning in capsys.readouterr().err) == (later != clean)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_command_leaves_an_encoder_for_the_others(
    modality: str, table: Path, tmp_path: Path, image_folder: Path, text_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    models = ["--set", f"image.model=local-dir:{image_folder}", "--set", f"text.model={text_folder}"]
    quick = [word for one in ("device=cpu", "image.workers=0", *QUICK) for word in ("--set", one)]
    out = tmp_path / "tuned"
    run("tune", modality, str(table), "--out", str(out), *models, *quick)
    printed = capsys.readouterr()
    assert printed.out.strip() == str(out)
    assert "validation accuracy" in printed.err
    used = f"image.model=local-dir:{out}" if modality == "image" else f"text.model={out}"
    run("fit", str(table), "--out", str(tmp_path / "run"), *models, *quick, "--set", used, "--set", f"model={modality}")
    classifier = plait.load(tmp_path / "run")
    assert len(classifier.predict(table)) == 64
    with pytest.raises(plait.PlaitError, match="is not empty; choose another folder"):
        run("tune", modality, str(table), "--out", str(out), *models, *quick)


def test_a_class_without_validation_rows_is_named(
    drawn: Pairs, toy_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = plait.draw(rows=64, seed=5, size=32)
    val = others.select(np.flatnonzero(np.array(others.labels) != "ramen"))
    Preparation(drawn, toy_config(*QUICK), ("image",), val).tuner.tune("image", tmp_path / "tuned")
    assert "warning: no validation row of 1 of 16 classes: 'ramen'" in capsys.readouterr().err
    with pytest.raises(DataError, match="ramen"):
        Preparation(val, toy_config(*QUICK), ("image",), drawn)


def test_an_unfinished_training_is_gone_on_with(
    drawn: Pairs, toy_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from plait.training.encoders.folder import Training

    tuner = Preparation(drawn, toy_config(*QUICK), ("image",)).tuner
    whole = tuner.tune("image", tmp_path / "whole")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            tuner.tune("image", tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    resumed = tuner.tune("image", tmp_path / "cut")
    assert "going on with the unfinished training" in capsys.readouterr().err
    assert resumed["curve"] == whole["curve"]
    assert (tmp_path / "cut/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
