"""The side of the network's input that suits the pictures, where none is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.config import ImageConfig, configure
from plait.data.pairs import Pairs
from plait.features.sizing import side_for, sized
from plait.pipeline.prepare import Preparation
from toys import make_image_folder, picture


def pictures(*sides: int) -> Pairs:
    return Pairs.from_columns([picture(i, side) for i, side in enumerate(sides)])


def size(model: str, pairs: Pairs) -> int | None:
    return sized(ImageConfig(model=model), pairs).size


@pytest.mark.parametrize(
    ("sides", "side"),
    [([64], 160), ([60], 160), ([65], 192), ([40], 128), ([10], 96), ([64, 64, 640], 160), ([64, 640], 896)],
)
def test_the_rule(sides: list[int], side: int) -> None:
    """Two and a half times the median, in steps of 32, never below 96."""
    assert side_for(sides) == side


def test_small_pictures_are_not_enlarged_far(capsys: pytest.CaptureFixture[str]) -> None:
    assert size("lite0", pictures(64, 60, 64)) == 160
    assert capsys.readouterr().err == "image.size: 160 px, for pictures of 64 px (lite0 was trained with 224)\n"


@pytest.mark.parametrize(("side", "model"), [(90, "lite0"), (400, "lite0"), (100, "lite1")])
def test_larger_pictures_get_what_the_network_was_trained_with(
    side: int, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert size(model, pictures(side)) is None
    assert capsys.readouterr().err == ""


def test_what_is_asked_for_is_kept() -> None:
    given = sized(ImageConfig(model="lite0", size=64), pictures(30))
    assert (given.size, given.train.enlarge) == (64, False)  # tuned at, and used at
    assert sized(ImageConfig(model="lite0"), pictures(30)).train.enlarge


def test_networks_and_folders_with_a_size_of_their_own(tmp_path: Path) -> None:
    assert size("test_vit", pictures(30)) is None
    assert size(f"local-dir:{make_image_folder(tmp_path / 'toy', size=160)}", pictures(30)) is None
    assert size("test_resnet", pictures(30)) == 96  # takes any, and was trained with 160


def test_only_what_can_be_opened_counts() -> None:
    assert size("lite0", Pairs.from_columns([None, b"no image", picture(1, 64), "gone.jpg"])) == 160
    assert size("lite0", Pairs.from_columns([None, b"no image"], ["a", "b"])) is None


def test_a_preparation_takes_it_from_its_training_rows() -> None:
    pairs = Pairs.from_columns([picture(i, 30) for i in range(8)], labels=[f"{i % 2}" for i in range(8)])
    val = Pairs.from_columns([picture(i + 8, 400) for i in range(8)], labels=[f"{i % 2}" for i in range(8)])
    config = configure(overrides=["image.model=test_resnet", "device=cpu"])
    assert Preparation(pairs, config, ("image",), val).config.image.size == 96
    assert Preparation(val, config, ("image",), pairs).config.image.size is None
