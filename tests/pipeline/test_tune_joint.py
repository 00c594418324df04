"""`tune_space`: from pairs to a folder that an index can be built from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.data.partition import divide
from plait.errors import PlaitError
from plait.features.store import FeatureStore
from plait.fusion.ranks import both_ways
from plait.fusion.space import JointSpace
from plait.pipeline.space import Embedder, measured, tune_space
from plait.retrieval.space import open_space
from plait.training.space import embedded
from toys import picture

QUICK = ("space.epochs=4", "space.dim=16", "space.hidden=16", "space.batch=32")


@pytest.fixture
def quick(toy_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    return lambda *more: toy_config(f"store={tmp_path / 'store'}", *QUICK, *more)


def test_a_space_comes_back_as_it_was(quick: Callable[..., Config], drawn: Pairs, tmp_path: Path) -> None:
    config = quick()
    parts = divide(drawn, config, labelled=False)
    facts = tune_space(parts, config, tmp_path / "space")
    assert facts["rows"]["training"] > facts["rows"]["test"] > 0
    assert set(facts["own"]) == set(facts["class"]) == {"image_to_text", "text_to_image"}
    space = open_space(tmp_path / "space")
    assert (space.kind, space.dim) == ("joint", 16)
    assert space.engine.metrics["own"] == facts["own"]
    assert parts.test is not None
    test = Embedder(space.engine, FeatureStore(tmp_path / "store")).rows(parts.test)
    assert isinstance(space.towers, JointSpace)
    assert measured(embedded(space.towers, test.inputs), test, config.seed)["own"] == facts["own"]


def test_the_folder_holds_data_only_and_is_checked(quick: Callable[..., Config], drawn: Pairs, tmp_path: Path) -> None:
    config, folder = quick(), tmp_path / "space"
    tune_space(divide(drawn, config, labelled=False), config, folder)
    assert {one.suffix for one in folder.rglob("*") if one.is_file()} <= {".json", ".safetensors", ".txt", ".md"}
    with pytest.raises(PlaitError) as caught:
        plait.load(folder)
    assert str(caught.value) == f"'{folder}' is a joint space, which finds and does not label; give it to plait index"
    weights = folder / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(PlaitError, match=r"'head\.safetensors' is not as it was written"):
        open_space(folder)
    manifest = json.loads((folder / "run.json").read_text())
    assert manifest["format"] == 3


def test_the_same_seed_gives_the_same_space(quick: Callable[..., Config], drawn: Pairs, tmp_path: Path) -> None:
    prints = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = quick(f"seed={seed}")
        tune_space(divide(drawn, config, labelled=False), config, tmp_path / name)
        prints.append(open_space(tmp_path / name).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_rows_need_both_sides(quick: Callable[..., Config], tmp_path: Path) -> None:
    pairs = Pairs.from_columns(
        [picture(i) if i < 8 else None for i in range(60)], [f"dish number {i}" for i in range(60)], source="dishes"
    )
    config = quick("data.test_fraction=0")
    with pytest.raises(PlaitError) as caught:
        tune_space(divide(pairs, config, labelled=False), config, tmp_path / "space")
    found = str(caught.value)
    assert found.startswith("dishes: ")
    assert found.endswith(" training rows have both an image and a text, fewer than 10; give more, or another val")


def test_an_encoder_is_tuned_before(quick: Callable[..., Config], drawn: Pairs, tmp_path: Path) -> None:
    config = quick("text.tune=true")
    with pytest.raises(PlaitError) as caught:
        tune_space(divide(drawn, config, labelled=False), config, tmp_path / "space")
    assert str(caught.value) == (
        "text.tune: a joint space learns on features; tune the encoder first by plait tune text, and give its folder "
        "by text.model=FOLDER"
    )


def test_equal_texts_are_one_answer() -> None:
    """Two rows of one text: either picture is right for it."""
    image = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    text = np.array([[0.5, 0.5], [1.0, 0.0], [0.1, 1.0]])
    assert both_ways(image, text, np.array([4, 4, 5]))["image_to_text"]["recall@1"] == 1.0
    assert both_ways(image, text, np.array([4, 6, 5]))["image_to_text"]["recall@1"] == pytest.approx(2 / 3)
