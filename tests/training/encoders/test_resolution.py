"""The side that a pretrained network is tuned at, and the side it is used at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_tune_image import coloured

from plait.config import ImageConfig, configure
from plait.training.encoders import image as training
from plait.training.encoders.image import tune_image
from plait.training.encoders.resolution import Probed, probe_sides, side_to_tune_at
from toys import make_image_folder


def config(*overrides: str) -> ImageConfig:
    return configure(overrides=[f"image.{one}" for one in overrides]).image


@pytest.mark.parametrize(
    ("side", "overrides", "tuned_at"),
    [
        (160, (), 128),
        (224, (), 192),
        (96, (), 64),
        (64, (), 64),
        (160, ("train.enlarge=false",), 160),
        (160, ("pretrained=false",), 160),
        (160, ("train.stages=[{size: 96, epochs: 1}]",), 160),
        (160, ("model=test_vit",), 160),  # takes no other side
    ],
)
def test_the_side_to_tune_at(side: int, overrides: tuple[str, ...], tuned_at: int) -> None:
    assert side_to_tune_at(side, config(*overrides)) == tuned_at


def test_a_folder_keeps_its_side(tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "toy", size=160)
    assert side_to_tune_at(160, config(f"model=local-dir:{folder}")) == 160


@pytest.mark.parametrize(
    ("gain", "spread", "used"),
    [(0.05, 0.0, 160), (0.009, 0.0, 128), (0.05, 2.0, 128), (-0.1, 0.0, 128)],
    ids=["clear", "too-little", "within-its-error", "worse"],
)
def test_the_larger_side_must_pay(gain: float, spread: float, used: int, capsys: pytest.CaptureFixture[str]) -> None:
    noise = spread * torch.tensor([1.0, -1.0]).repeat(200)  # a standard error of 0.1 where the spread is 2
    probed = Probed((128, 160), (torch.full((400,), 1.0) + gain + noise, torch.ones(400)))
    assert probed.used == used
    probed.tell()
    assert capsys.readouterr().err == (
        f"tuned at 128 px; a linear probe has validation loss {1 + gain:.3f} there and 1.000 at 160 px: features will "
        f"be taken at {used} px\n"
    )


def test_probes_see_each_side() -> None:
    torch.manual_seed(0)
    targets = torch.arange(300) % 3

    def seen(side: int) -> tuple[torch.Tensor, torch.Tensor]:  # classes lie further apart at the larger side
        return torch.eye(3)[targets] * side / 64 + torch.randn(300, 3), targets

    probed = probe_sides((64, 256), seen, seen, 3)
    low, high = (float(losses.mean()) for losses in probed.losses)
    assert high < 0.8 * low
    assert probed.used == 256


@pytest.mark.parametrize("larger", [True, False])
def test_tuned_at_one_side_and_used_at_the_other(larger: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    def probe(sides: tuple[int, int], train: training.Seen, val: training.Seen, classes: int) -> Probed:
        for side in sides:
            features, targets = val(side)
            assert (features.shape[0], targets.tolist()) == (32, [i % 4 for i in range(32)])
        heard.append((sides, classes))
        losses = torch.zeros(32), torch.full((32,), -1.0 if larger else 1.0)
        return Probed(sides, losses)

    monkeypatch.setattr(training, "probe_sides", probe)
    given = ("model=test_resnet", "train.epochs=1", "workers=0", "train.batch=16")
    monkeypatch.setattr(training, "create_model", lambda name, pretrained, **more: made(name, **more))
    wanted = config(*given).model_copy(update={"size": 96})
    tuned = tune_image(coloured(32), coloured(32, 1), 4, wanted)
    assert heard == [((64, 96), 4)]
    assert (tuned.side, tuned.settings["input_size"]) == (64, (3, 96, 96) if larger else (3, 64, 64))


def made(name: str, **more: object) -> torch.nn.Module:
    """A network as a pretrained one would come, without its weights."""
    import timm

    return timm.create_model(name, pretrained=False, **more)
