"""Costs of whole models, and the best one within a budget."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import plait
from plait import Classifier
from plait.config import Config
from plait.data.pairs import Pairs
from plait.errors import ConfigError
from plait.features.costs import Cost
from plait.pipeline.budget import Budget, best_within, words
from plait.pipeline.compare import compare
from plait.report.summary import summary

ToyConfig = Callable[..., Config]
LOSSES = {"image": 1.2, "text": 0.6, "late": 0.4, "early": 0.5}
COSTS = {
    "image": Cost(10, 14_000_000, 0.010, 0.001),
    "text": Cost(10, 93_000_000, 0.012, 0.001),
    "late": Cost(10, 107_000_000, 0.022, 0.001),
    "early": Cost(10, 113_000_000, 0.020, 0.001),
}


@pytest.fixture(scope="module")
def rows() -> Pairs:
    return plait.draw(rows=160, seed=2, size=32)


@pytest.mark.parametrize(
    ("ms", "mb", "best"),
    [
        (22.0, None, "late"),  # a budget that is just used up
        (21.9, None, "early"),
        (19.0, None, "text"),
        (11.0, None, "image"),
        (None, 107.0, "late"),
        (None, 100.0, "text"),
        (30.0, 20.0, "image"),
        (11.0, 500.0, "image"),
    ],
)
def test_the_best_within_a_budget(ms: float | None, mb: float | None, best: str) -> None:
    assert best_within(Budget(ms, mb), LOSSES, COSTS) == best


@pytest.mark.parametrize(
    ("ms", "mb", "message"),
    [
        (9.0, None, "no model within max_ms=9; the nearest is image with 10 ms a row, 14 MB"),
        (None, 2.5, "no model within max_mb=2.5; the nearest is image with 10 ms a row, 14 MB"),
        (11.0, 13.0, "no model within max_ms=11 and max_mb=13; the nearest is image with 10 ms a row, 14 MB"),
        (5.0, 80.0, "no model within max_ms=5 and max_mb=80; the nearest is image with 10 ms a row, 14 MB"),
    ],
)
def test_nothing_within_a_budget_names_the_nearest(ms: float | None, mb: float | None, message: str) -> None:
    remedy = ": allow more, or take smaller encoders, as image.model=lite0 and text.model=tfidf"
    with pytest.raises(ConfigError, match=f"^{re.escape(message + remedy)}$"):
        best_within(Budget(ms, mb), LOSSES, COSTS)


def test_the_nearest_is_by_the_scarcer_part() -> None:
    costs = {"image": Cost(1, 1_000_000, 0.040, 0.1), "text": Cost(1, 30_000_000, 0.010, 0.1)}
    assert Budget(10.0, 10.0).share(costs["image"]) == 4.0
    assert Budget(10.0, 10.0).share(costs["text"]) == 3.0
    with pytest.raises(ConfigError, match="the nearest is text with 10 ms a row, 30 MB"):
        best_within(Budget(10.0, 10.0), {"image": 0.1, "text": 0.2}, costs)
    assert words(Cost(1, 1_234_567, 0.0012345, 0.1)) == "1.23 ms a row, 1.23 MB"


def test_a_comparison_measures_every_model(toy_config: ToyConfig, rows: Pairs, tmp_path: Path) -> None:
    config = toy_config(f"store={tmp_path}", "head.folds=2")
    first = summary(compare(rows, config=config))
    found = {name: model["cost"] for name, model in first["models"].items()}
    assert set(found) == {"image", "text", "late", "early"}
    assert {cost["encoding"] for cost in found.values()} == {"now"}
    assert all(cost["milliseconds"] > 0 and cost["rows_per_second"] > 0 for cost in found.values())
    # a fusion reads the encoders and has the heads of both modalities, and late fusion adds its few exponents
    assert found["late"]["parameters"] > found["image"]["parameters"] + found["text"]["parameters"] - 1
    again = summary(compare(rows, config=config))
    assert again["models"]["late"]["cost"]["parameters"] == found["late"]["parameters"]
    assert again["models"]["late"]["cost"]["megabytes"] == found["late"]["megabytes"]
    assert again["models"]["late"]["cost"]["encoding"] == "earlier"
    assert "unmeasured" not in again
    for note in (tmp_path / "costs").iterdir():
        note.unlink()
    known = compare(rows, config=config)  # encoders stay closed, so that nothing tells
    assert known.unmeasured == [config.image.model, config.text.model]
    assert all(model.cost is None for model in known.models.values())
    assert known.encoded == 0


def test_a_fit_within_a_budget_is_as_large_as_it_says(toy_config: ToyConfig, rows: Pairs, tmp_path: Path) -> None:
    config = toy_config(f"store={tmp_path}/store", "text.model=tfidf")
    dear = Classifier(config, max_mb=1000.0).fit(rows)
    assert dear.metrics_["cost"].endswith(" MB")
    dear.save(tmp_path / "dear")
    size = sum(file.stat().st_size for file in (tmp_path / "dear").rglob("*") if file.is_file()) / 1e6
    assert float(dear.metrics_["cost"].split()[-2]) == pytest.approx(size, rel=0.05)
    cheap = Classifier(config, max_mb=0.9 * size if dear.engine_.model in ("late", "early") else 1.1 * size).fit(rows)
    cheap.save(tmp_path / "cheap")
    assert cheap.engine_.model in ("image", "text")
    with pytest.raises(ConfigError, match=r"^no model within max_ms=1e-06; the nearest is \w+ with "):
        Classifier(config, max_ms=1e-6).fit(rows)
    assert "cost" not in Classifier(config, model="text").fit(rows).metrics_


def test_a_stored_feature_without_its_cost_is_measured_by_a_fit(
    toy_config: ToyConfig, rows: Pairs, tmp_path: Path
) -> None:
    config = toy_config(f"store={tmp_path}", "model=image")
    Classifier(config).fit(rows)
    for note in (tmp_path / "costs").iterdir():
        note.unlink()
    fitted = Classifier(config, max_ms=60_000.0).fit(rows)
    assert fitted.metrics_["encoded"] == 0
    assert "ms a row" in fitted.metrics_["cost"]
