from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from plait.config import configure
from plait.data.pairs import Pairs
from plait.encoders.pair import EncoderPair
from plait.errors import DataError
from plait.features.encode import Features
from plait.fusion.inputs import HeadInputs
from plait.inference import predictions
from plait.inference.engine import Engine
from plait.inference.torch_head import TorchHead
from plait.training.heads.fitter import Fitter
from plait.training.heads.task import Task

LABELS = ["apple", "crêpe", 'say "cheese"', "dumpling, fried", "egg", "fish"]
PAIRS = Pairs.from_columns(texts=["a", "b", "c"], ids=["z9", "a,1", "m\n5"])
PROBABILITIES = np.array(
    [[0.05, 0.4, 0.3, 0.15, 0.08, 0.02], [0.2, 0.2, 0.2, 0.2, 0.1, 0.1], [0, 0, 0, 0, 0.123456789, 0.876543211]],
    np.float32,
)
EFFECTS = {"image": np.array([0.25, -0.5, 0], np.float32), "text": np.array([1 / 3, 0, 1], np.float32)}
BEST = [
    ["crêpe", 'say "cheese"', "dumpling, fried", "egg", "apple"],
    ["apple", "crêpe", 'say "cheese"', "dumpling, fried", "egg"],
]


def test_rows() -> None:
    found = predictions.rows(PAIRS, LABELS, PROBABILITIES, EFFECTS)
    assert [answer["id"] for answer in found] == ["z9", "a,1", "m\n5"]
    assert [list(answer) for answer in found] == [
        ["id", "label", "confidence", "top5", "effect_image", "effect_text"]
    ] * 3
    assert [[top["label"] for top in answer["top5"]] for answer in found[:2]] == BEST  # equal ones in label order
    assert found[2]["top5"][:2] == [
        {"label": "fish", "confidence": 0.876543},
        {"label": "egg", "confidence": 0.123457},
    ]
    assert [(answer["label"], answer["confidence"]) for answer in found] == [
        ("crêpe", 0.4),
        ("apple", 0.2),
        ("fish", 0.876543),
    ]
    assert [(answer["effect_image"], answer["effect_text"]) for answer in found] == [
        (0.25, 0.333333),
        (-0.5, 0.0),
        (0.0, 1.0),
    ]
    assert "effect_image" not in predictions.rows(PAIRS, LABELS, PROBABILITIES)[0]


def test_fewer_than_five_classes() -> None:
    found = predictions.rows(PAIRS, LABELS[:2], np.array([[0.3, 0.7], [1, 0], [0.5, 0.5]]))
    assert [len(answer["top5"]) for answer in found] == [2, 2, 2]
    assert [answer["label"] for answer in found] == ["crêpe", "apple", "apple"]


@pytest.fixture
def answers() -> list[dict[str, object]]:
    return predictions.rows(PAIRS, LABELS, PROBABILITIES, EFFECTS)


def test_csv(answers: list[dict[str, object]], tmp_path: Path) -> None:
    predictions.write(answers, tmp_path / "new" / "out.csv")
    with (tmp_path / "new" / "out.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["id"] for line in lines] == ["z9", "a,1", "m\n5"]
    assert [line["label"] for line in lines] == ["crêpe", "apple", "fish"]
    assert [json.loads(line["top5"]) for line in lines] == [answer["top5"] for answer in answers]
    assert [float(line["effect_text"]) for line in lines] == [0.333333, 0.0, 1.0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.csv"]


def test_json_lines(answers: list[dict[str, object]], tmp_path: Path) -> None:
    predictions.write(answers, tmp_path / "out.JSONL")
    lines = (tmp_path / "out.JSONL").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == answers
    assert "crêpe" in lines[0]


def test_parquet(answers: list[dict[str, object]], tmp_path: Path) -> None:
    predictions.write(answers, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == answers


def test_no_rows(tmp_path: Path) -> None:
    predictions.write([], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "id,label,confidence,top5\n"
    predictions.write([], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_unknown_endings(answers: list[dict[str, object]], tmp_path: Path) -> None:
    for name, ending in {"out.xlsx": ".xlsx", "out": ""}.items():
        with pytest.raises(DataError) as caught:
            predictions.write(answers, tmp_path / name)
        assert str(caught.value) == (f"file '{tmp_path}/{name}': unknown ending '{ending}'; use .csv, .jsonl, .parquet")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError) as caught:
        predictions.write(answers, tmp_path / "folder.csv")
    assert str(caught.value) == (
        f"file '{tmp_path}/folder.csv' is a folder; give a file ending in .csv, .jsonl, .parquet"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    predictions.write(predictions.rows(PAIRS, LABELS, PROBABILITIES), tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(TypeError):
        predictions.write([{"id": object()}], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


# ------------------------------------------------------------------ effects


def informed(informative: str, n: int = 240) -> tuple[HeadInputs, torch.Tensor]:
    """Two modalities of which one tells the class."""
    generator = torch.Generator().manual_seed(4)
    targets = torch.arange(n) % 3
    features = {modality: torch.randn(n, 6, generator=generator) for modality in ("image", "text")}
    features[informative][:, :3] += 6 * torch.nn.functional.one_hot(targets, 3)
    present = {modality: torch.ones(n, dtype=torch.bool) for modality in features}
    return HeadInputs(features, present), targets


def as_features(modalities: HeadInputs) -> dict[str, Features]:
    return {s: Features(modalities.features[s].numpy(), modalities.present[s].numpy()) for s in modalities.present}


@pytest.mark.parametrize("informative", ["image", "text"])
@pytest.mark.parametrize("model", ["late", "early"])
def test_hiding_the_informative_modality_costs_the_answer(model: str, informative: str) -> None:
    modalities, targets = informed(informative)
    config = configure(overrides=["train.epochs=15", "train.lr=0.01", "head.hidden=16", "head.folds=2", "device=cpu"])
    task = Task(modalities, targets, torch.arange(len(targets)) // 3 % 2, modalities, targets, 3)
    fitted = Fitter(task, config, torch.device("cpu")).fit(model)
    engine = Engine(EncoderPair(), TorchHead(fitted.head, fitted.spec), ["a", "b", "c"], model, config)
    full = engine.probabilities(as_features(modalities))
    assert (full.argmax(1) == targets.numpy()).mean() > 0.95
    effects = engine.effects(as_features(modalities))
    other = "text" if informative == "image" else "image"
    assert effects[informative].dtype == np.float32
    assert effects[informative].shape == (240,)
    assert effects[informative].mean() > 0.3
    assert abs(effects[other].mean()) < 0.1
    assert all((np.abs(moved) <= 1).all() for moved in effects.values())


def test_a_modality_that_is_missing_has_no_effect() -> None:
    modalities, targets = informed("text")
    config = configure(overrides=["train.epochs=2", "head.hidden=16", "head.folds=2", "device=cpu"])
    task = Task(modalities, targets, torch.arange(len(targets)) // 3 % 2, modalities, targets, 3)
    early = Fitter(task, config, torch.device("cpu")).fit("early")
    head = TorchHead(early.head, early.spec)
    engine = Engine(EncoderPair(), head, ["a", "b", "c"], "early", config)
    modalities.present["image"][10:20] = False
    moved = engine.effects(as_features(modalities))["image"]
    assert (moved[10:20] == 0).all()
    assert (moved[:10] != 0).all()
