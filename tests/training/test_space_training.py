"""Training of a joint space on features made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from plait.config import SpaceConfig
from plait.fusion.inputs import HeadInputs
from plait.training.space import SpaceRows, embedded, fit_space, validated

CONFIG = SpaceConfig(dim=8, hidden=16, epochs=8, batch=64, dropout=0.1, lr=3e-3, same_class="negative")


def rows(count: int, seed: int) -> SpaceRows:
    """Sides that tell the same six hidden numbers, one by their squares: a linear map finds only a part of them."""
    draw = np.random.default_rng(seed)
    hidden = draw.normal(size=(count, 6)).astype(np.float32)
    mixed = np.random.default_rng(0).normal(size=(12, 12)).astype(np.float32)
    image = np.concatenate([hidden, draw.normal(size=(count, 6)).astype(np.float32)], axis=1) @ mixed
    text = np.concatenate([hidden[:, :3], hidden[:, 3:] ** 2], axis=1)
    both = {s: torch.ones(count, dtype=torch.bool) for s in ("image", "text")}
    keys = torch.arange(count)
    inputs = HeadInputs({"image": torch.from_numpy(image), "text": torch.from_numpy(text)}, both)
    return SpaceRows(inputs, (keys, keys), torch.from_numpy((hidden[:, 0] > 0).astype(np.int64)))


@pytest.fixture(scope="module")
def parts() -> tuple[SpaceRows, SpaceRows]:
    return rows(1500, 1), rows(200, 2)


@pytest.mark.parametrize("change", [{}, {"loss": "sigmoid", "epochs": 30, "patience": 30}, {"hard": 1.0}])
def test_towers_find_more_than_the_linear_maps_they_begin_at(
    parts: tuple[SpaceRows, SpaceRows], change: dict[str, object]
) -> None:
    fitted = fit_space(*parts, CONFIG.model_copy(update=change))
    start, end = fitted.curve[0]["val_recall"], validated(fitted.space, parts[1], CONFIG)
    assert fitted.curve[0]["epoch"] == 0
    assert start > 0.2
    assert end > start + 0.02


def test_the_best_epoch_is_kept_and_seeds_decide(parts: tuple[SpaceRows, SpaceRows]) -> None:
    one, same, other = (fit_space(*parts, CONFIG.model_copy(update={"epochs": 3}), seed=seed) for seed in (1, 1, 2))
    best = max(epoch["val_recall"] for epoch in one.curve)
    assert validated(one.space, parts[1], CONFIG) == pytest.approx(best)
    found = [embedded(fit.space, parts[1].inputs)["image"] for fit in (one, same, other)]
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


def test_patience_ends_it(parts: tuple[SpaceRows, SpaceRows]) -> None:
    fitted = fit_space(*parts, CONFIG.model_copy(update={"epochs": 30, "patience": 2, "lr": 1e-9, "dropout": 0.0}))
    assert len(fitted.curve) == 3


def test_auto_keeps_what_finds_more(parts: tuple[SpaceRows, SpaceRows]) -> None:
    quick = CONFIG.model_copy(update={"epochs": 3})
    both = {
        one: max(epoch["val_recall"] for epoch in fit_space(*parts, quick.model_copy(update={"same_class": one})).curve)
        for one in ("negative", "mask")
    }
    chosen = fit_space(*parts, quick.model_copy(update={"same_class": "auto"}))
    assert chosen.same_class == max(both, key=lambda one: both[one])
    assert max(epoch["val_recall"] for epoch in chosen.curve) == max(both.values())
