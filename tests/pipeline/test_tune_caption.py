"""`plait tune caption` and `plait caption`: what is learnt, resumed, refused and written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import layouts
from plait.captions.decoder import DecoderCaptioner
from plait.captions.folder import load_captioner
from plait.cli import app
from plait.config import Config
from plait.data.pairs import Pairs
from plait.data.partition import Partition
from plait.errors import DataError, RunError
from plait.pipeline.captions import tune_caption
from plait.training import captions as training
from twins import make_captioner_folder

ToyConfig = Callable[..., Config]
COLOURS = {"red": (210, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "yellow": (210, 200, 20)}
THINGS = ("plate", "shirt")
QUICK = ("caption.vocabulary=280", "caption.width=64", "caption.batch=16", "caption.lr=0.005", "caption.dropout=0")


def painted(rows: int, seed: int) -> Pairs:
    """Pictures of one colour, dark where it is a shirt; the text names both."""
    rng = np.random.default_rng(seed)
    images, texts = [], []
    for i in range(rows):
        colour, thing = list(COLOURS)[i % 4], THINGS[i // 4 % 2]
        mean = np.array(COLOURS[colour]) * (0.4 if thing == "shirt" else 1.0)
        images.append(Image.fromarray((mean + rng.normal(0, 8, (40, 40, 3))).clip(0, 255).astype(np.uint8)))
        texts.append(f"a small {colour} {thing} on a table")
    return Pairs.from_columns(images, texts)


@pytest.fixture(scope="module")
def parts() -> Partition:
    return Partition(painted(96, 0), painted(24, 1), painted(16, 2), [])


def error(call: Callable[[], object]) -> str:
    with pytest.raises((DataError, RunError)) as caught:
        call()
    return str(caught.value)


def test_a_decoder_learns_to_name_what_it_sees(
    toy_config: ToyConfig, parts: Partition, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = tune_caption(parts, toy_config(*QUICK, "caption.epochs=16", "caption.patience=16"), tmp_path / "captioner")
    assert facts["rows"] == {"train": 96, "val": 24}
    assert max(epoch["val_cider"] for epoch in facts["curve"]) == facts["cider"] > 5
    assert facts["test"]["cider"] > 5
    assert not facts["collapsed"]
    assert "warning" not in capsys.readouterr().err
    said = load_captioner(tmp_path / "captioner").caption([Image.new("RGB", (40, 40), COLOURS["red"])])
    assert "red" in said[0]
    kept = json.loads((tmp_path / "captioner" / "tuning.json").read_text())
    assert kept["cider"] == facts["cider"]


@pytest.mark.parametrize("kind", ["git", "blip"])
@pytest.mark.parametrize("lora", [0, 4])
def test_pretrained_ones_are_tuned(
    kind: str, lora: int, toy_config: ToyConfig, parts: Partition, tmp_path: Path
) -> None:
    folder = make_captioner_folder(kind, tmp_path / kind)
    options = (f"caption.model={folder}", f"caption.lora={lora}", "caption.epochs=3", "caption.batch=16")
    facts = tune_caption(parts, toy_config(*options, "caption.lr=0.003"), tmp_path / "tuned")
    losses = [epoch["train_loss"] for epoch in facts["curve"]]
    assert losses[-1] < losses[0] - (0.01 if lora else 0.1)
    assert len(load_captioner(tmp_path / "tuned").caption([Image.new("RGB", (40, 40))])) == 1


def test_a_collapse_is_told_and_ends_the_training(
    toy_config: ToyConfig, parts: Partition, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_captioner_folder("git", tmp_path / "git")
    options = (f"caption.model={folder}", "caption.epochs=9", "caption.batch=16", "caption.lr=0.3")
    facts = tune_caption(parts, toy_config(*options), tmp_path / "tuned")
    assert facts["collapsed"]
    assert len(facts["curve"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("warning: captions have collapsed: ")
    assert last.endswith(
        "lower caption.lr (it is 0.3), tune by LoRA (caption.lora=8), or give more rows with texts that differ"
    )


class _KilledError(Exception):
    """As if killed."""


def test_a_killed_training_ends_as_if_it_had_not_been(
    toy_config: ToyConfig, parts: Partition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(*QUICK, "caption.epochs=4", "caption.dropout=0.2")
    tune_caption(parts, config, tmp_path / "whole")
    real, calls = training._keep, []

    def killed(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 2:
            raise _KilledError

    monkeypatch.setattr(training, "_keep", killed)
    with pytest.raises(_KilledError):
        tune_caption(parts, config, tmp_path / "cut")
    other = toy_config(*QUICK, "caption.epochs=5")
    assert "holds an unfinished training on other rows or settings" in error(
        lambda: tune_caption(parts, other, tmp_path / "cut")
    )
    tune_caption(parts, config, tmp_path / "cut")
    one, two = (load_captioner(tmp_path / name) for name in ("whole", "cut"))
    assert isinstance(one, DecoderCaptioner)
    assert isinstance(two, DecoderCaptioner)
    for a, b in zip(one.decoder.state_dict().values(), two.decoder.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_what_cannot_be_learnt_from(toy_config: ToyConfig, parts: Partition, tmp_path: Path) -> None:
    few = replace(parts, train=parts.train.select(range(4)))
    assert error(lambda: tune_caption(few, toy_config(*QUICK), tmp_path / "out")) == (
        "pairs: 4 training rows have both an image and a text, fewer than 10; name the columns with data.image=COLUMN "
        "and data.text=COLUMN, or give more rows"
    )


def test_the_verbs(toy_config: ToyConfig, image_folder: Path, tmp_path: Path) -> None:
    def run(*words: object) -> None:
        app([str(word) for word in words], standalone_mode=False)

    table = layouts.as_table(painted(120, 3), tmp_path / "rows.parquet")
    encoder = (
        "--set",
        f"image.model=local-dir:{image_folder}",
        "--set",
        "image.workers=0",
        "--set",
        "caption.epochs=1",
    )
    quick = [word for one in QUICK for word in ("--set", one)]
    run("tune", "caption", table, "--out", tmp_path / "captioner", *encoder, *quick)
    run("caption", tmp_path / "captioner", table, "--out", tmp_path / "captions.csv")
    with (tmp_path / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "caption", "text"]
    assert [row["text"] for row in rows] == painted(120, 3).texts
    no_images = tmp_path / "texts.csv"
    no_images.write_text("text\na red plate\n")
    assert "no row has an image; name its column with" in error(
        lambda: run("caption", tmp_path / "captioner", no_images, "--out", tmp_path / "x.csv")
    )
    assert "unknown ending '.txt'" in error(
        lambda: run("caption", tmp_path / "captioner", table, "--out", tmp_path / "x.txt")
    )
