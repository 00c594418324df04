"""Tuning on pairs of texts with scores, and with low-rank adapters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ordered import TRAIN, VAL, settings, tune, weights
from sentence_transformers import SentenceTransformer

from plait.cli import app
from plait.data.text_pairs import TextPairs
from plait.encoders.text import load_sentence_encoder
from plait.errors import ConfigError
from plait.training.encoders.text_model import build_text_model
from plait.training.encoders.text_pairs import spearman, tune_text_pairs

ONLY = ("angle", "cosine", "in_batch")
QUICK = ("lr=3e-3", "epochs=8", "patience=8")


def pairs(texts: list[str | None], targets: torch.Tensor, seed: int) -> TextPairs:
    """Random pairs of texts; alike where the order of the two words is the same."""
    left, right = np.random.default_rng(seed).integers(0, len(texts), (2, 2 * len(texts)))
    same = (targets[left] == targets[right]).numpy().astype(np.float32)
    return TextPairs([str(texts[i]) for i in left], [str(texts[i]) for i in right], same)


TRAIN_PAIRS, VAL_PAIRS = pairs(*TRAIN, 0), pairs(*VAL, 1)


@pytest.mark.parametrize("only", [ONLY[0], *(pytest.param(one, marks=pytest.mark.slow) for one in ONLY[1:])])
def test_each_objective_alone_teaches_what_is_alike(text_folder: Path, only: str) -> None:
    alone = [f"angle.{name}={int(name == only)}" for name in ONLY]
    # Of opposite vectors the reference form says that they are alike, and in few dimensions it learns little.
    config = settings(text_folder, *QUICK, *alone, "angle.form=paper")
    before = spearman(load_sentence_encoder(str(text_folder), config), VAL_PAIRS)
    tuned = tune_text_pairs(TRAIN_PAIRS, VAL_PAIRS, config)
    after = spearman(tuned.encoder, VAL_PAIRS)
    assert before < 0.2
    assert after > before + 0.25
    best = min(tuned.curve, key=lambda epoch: epoch["val_loss"])
    assert best["val_spearman"] == pytest.approx(after, abs=1e-3)
    assert best["val_loss"] == pytest.approx(1 - best["val_spearman"])


NOTHING = tuple(f"angle.{name}=0" for name in ONLY)


def test_without_weights_there_is_nothing_to_learn(text_folder: Path) -> None:
    message = "one of text.train.angle.cosine, in_batch and angle above 0"
    with pytest.raises(ConfigError) as pairs_only:
        tune_text_pairs(TRAIN_PAIRS, VAL_PAIRS, settings(text_folder, *NOTHING))
    assert str(pairs_only.value) == f"no objective has a weight; set {message}"
    with pytest.raises(ConfigError) as classes:
        tune(text_folder, *NOTHING, "classify=0")
    assert str(classes.value) == f"no objective has a weight; set text.train.classify or {message}"


def test_weights_are_relative(text_folder: Path) -> None:
    one, sixteen = (
        tune_text_pairs(
            TRAIN_PAIRS, VAL_PAIRS, settings(text_folder, "epochs=1", *(f"angle.{name}={size}" for name in ONLY))
        )
        for size in (1, 16)
    )
    assert one.curve == sixteen.curve


def test_the_command_takes_tables_of_pairs(
    text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = zip(VAL_PAIRS.left, VAL_PAIRS.right, VAL_PAIRS.scores, strict=True)
    (tmp_path / "pairs.tsv").write_text("text1\ttext2\tscore\n" + "".join(f"{a}\t{b}\t{s}\n" for a, b, s in rows))
    words = ["tune", "text", str(tmp_path / "pairs.tsv"), "--out", str(tmp_path / "tuned"), "--set", "device=cpu"]
    app([*words, "--set", f"text.model={text_folder}", "--set", "text.train.epochs=1"], standalone_mode=False)
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "tuned")
    assert "text encoder: 216 rows, 1 epochs" in printed.err
    assert "validation spearman" in printed.err
    assert SentenceTransformer(str(tmp_path / "tuned"), device="cpu").encode(["red soup"]).shape == (1, 32)


def test_adapters_are_merged_into_a_plain_encoder(text_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    plain = load_sentence_encoder(str(text_folder), settings(text_folder))
    tuned = tune(text_folder, "lora=4", "lr=1e-2", "epochs=2").encoder
    assert weights(tuned).keys() == weights(plain).keys()
    moved = {name for name, value in weights(tuned).items() if not torch.allclose(value, weights(plain)[name])}
    assert moved
    assert all(".weight" in name and "embeddings" not in name and "LayerNorm" not in name for name in moved)
    tuned.save(tmp_path / "saved")
    loaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(["red soup"])
    np.testing.assert_allclose(loaded, tuned.encode(["red soup"]), atol=1e-6)


def test_adapters_are_few(text_folder: Path) -> None:
    pytest.importorskip("peft")
    model = build_text_model(settings(text_folder, "lora=2"))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
