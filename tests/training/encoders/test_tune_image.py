"""Tuning an image encoder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from plait.config import ImageConfig, configure
from plait.data.pairs import Pairs
from plait.encoders.image import load_image_encoder, save_timm
from plait.errors import ConfigError, DataError, EncoderError
from plait.training.encoders.image import TunedImage, tune_image
from plait.training.encoders.images import Rows
from plait.training.encoders.stages import regularise

pytestmark = pytest.mark.numerics

QUICK = ("image.size=48", "image.workers=0", "image.train.epochs=4", "image.train.batch=16", "image.train.lr=0.002")


def coloured(n: int, seed: int = 0) -> Rows:
    """Pictures of noise around one of four colours; the label is the colour."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [190, 190, 60]])
    labels = np.arange(n) % 4
    pixels = (colours[labels][:, None, None] + rng.normal(0, 40, (n, 40, 40, 3))).clip(0, 255).astype(np.uint8)
    pairs = Pairs.from_columns([Image.fromarray(one) for one in pixels], labels=[str(label) for label in labels])
    return Rows(pairs, torch.tensor(labels))


def settings(folder: Path, *overrides: str) -> ImageConfig:
    return configure(overrides=[f"image.model=local-dir:{folder}", *QUICK, *overrides]).image


def tune(folder: Path, *overrides: str, **options: Any) -> TunedImage:
    return tune_image(coloured(96), coloured(32, 1), 4, settings(folder, *overrides), **options)


def weights(tuned: TunedImage) -> dict[str, torch.Tensor]:
    return tuned.model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_learns_by_stages_and_leaves_a_timm_folder(image_folder: Path, tmp_path: Path) -> None:
    tuned = tune(image_folder, "image.train.lr=0.008")
    assert [epoch["epoch"] for epoch in tuned.curve] == [1, 2, 3, 4]
    assert max(epoch["val_accuracy"] for epoch in tuned.curve) > 0.9
    save_timm(tuned.model, tuned.settings, tmp_path / "out", ["a", "b", "c", "d"])
    back = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert back.pretrained_cfg["input_size"] == (3, 48, 48)
    assert back.pretrained_cfg["label_names"] == ["a", "b", "c", "d"]
    pixels = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        assert torch.allclose(back(pixels), tuned.model(pixels), atol=1e-5)
        assert back(pixels).shape == (2, 4)
    assert load_image_encoder(settings(tmp_path / "out")).dim == back.num_features


def test_the_seed_decides(image_folder: Path) -> None:
    first = weights(tune(image_folder, "image.train.epochs=2"))
    assert same(first, weights(tune(image_folder, "image.train.epochs=2")))
    assert not same(first, weights(tune(image_folder, "image.train.epochs=2", seed=1)))


def test_frozen_layers_stay_bit_for_bit(image_folder: Path) -> None:
    before = timm.create_model(f"local-dir:{image_folder}", pretrained=True).state_dict()
    frozen = weights(tune(image_folder, "image.train.layers=frozen", "image.train.epochs=1"))
    shared = [key for key in before if not key.startswith("fc.")]
    assert shared
    assert all(torch.equal(before[key], frozen[key]) for key in shared)  # batch-norm statistics, too
    tuned = weights(tune(image_folder, "image.train.epochs=1", "image.train.layers=all"))
    assert not any(torch.equal(before[key], tuned[key]) for key in shared if key.endswith("conv1.weight"))


def test_of_a_pretrained_network_the_upper_two_thirds_are_trained(image_folder: Path) -> None:
    before = timm.create_model(f"local-dir:{image_folder}", pretrained=True).state_dict()
    after = weights(tune(image_folder, "image.train.epochs=1"))
    # A ResNet of stem, four stages and classifier: two of six layers stay.
    moved = {key.split(".")[0] for key in before if key in after and not torch.equal(before[key], after[key])}
    assert moved - {"fc"} == {"layer2", "layer3", "layer4"}


@pytest.mark.slow
def test_epochs_by_what_the_weights_are(image_folder: Path) -> None:
    given = ("image.train.epochs=null", "image.train.lr=0.002")
    assert len(tune(image_folder, *given).curve) == 10
    assert len(tune(image_folder, *given, "image.pretrained=false", "image.model=test_resnet").curve) == 16


@pytest.mark.parametrize(
    "options",
    [
        ("image.train.ema=0.9",),
        ("image.train.layer_decay=0.7", "image.train.accumulate=2"),
        ("image.train.balanced=true", "image.train.precision=bf16"),
        ("image.train.stages=[{size: 32, epochs: 2, mixup: 0.4}, {size: 48, epochs: 4, mixup: 0.2, drop_path: 0.1}]",),
        pytest.param(
            ("image.pretrained=false", "image.model=test_resnet", "image.train.epochs=12"), marks=pytest.mark.slow
        ),
    ],
)
def test_options_that_still_learn(image_folder: Path, options: tuple[str, ...]) -> None:
    curve = tune(image_folder, "image.train.lr=0.004", *options).curve
    assert max(epoch["val_accuracy"] for epoch in curve) > 0.6


def test_the_moving_average_is_what_is_kept(image_folder: Path) -> None:
    one = ("image.train.epochs=1", "image.train.layers=all")
    plain, averaged = (weights(tune(image_folder, f"image.train.ema={d}", *one)) for d in (0, 0.99))
    start = timm.create_model(f"local-dir:{image_folder}", pretrained=True).state_dict()
    key = "conv1.0.weight" if "conv1.0.weight" in start else next(k for k in start if k.endswith("weight"))
    assert (averaged[key] - start[key]).norm() < (plain[key] - start[key]).norm()


def test_regularisation_of_a_stage_reaches_the_network() -> None:
    from plait.config import Stage

    model: Any = timm.create_model("tf_efficientnetv2_b0", pretrained=False, drop_path_rate=0.2)
    regularise(model, Stage(size=32, epochs=1, dropout=0.4, drop_path=0.3))
    rates = [module.drop_prob for module in model.modules() if type(module).__name__ == "DropPath"]
    assert model.drop_rate == 0.4
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.3)


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[3]]
import torch
torch.set_num_threads(1)
from test_tune_image import tune, weights
tune(Path(sys.argv[1]), "image.train.epochs=40", checkpoint=Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_and_repeated_ends_with_the_same_weights(image_folder: Path, tmp_path: Path) -> None:
    options = ("image.train.stages=[{size: 32, epochs: 2, dropout: 0.2}, {size: 48, epochs: 2, randaugment: 5}]",)
    whole = tune(image_folder, *options, checkpoint=tmp_path / "whole.ckpt")
    cut = tmp_path / "cut.ckpt"
    code = KILLED.replace('"image.train.epochs=40"', f"{options[0]!r}")
    process = subprocess.Popen([sys.executable, "-c", code, image_folder, cut, Path(__file__).parent])
    deadline = time.monotonic() + 120
    while not cut.is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert cut.is_file()
    resumed = tune(image_folder, *options, checkpoint=cut)
    assert same(weights(whole), weights(resumed))
    assert resumed.curve == whole.curve
    # Killed after the last epoch: nothing is trained, and the best weights come back all the same.
    assert same(weights(whole), weights(tune(image_folder, *options, checkpoint=cut)))


def test_too_small_for_the_network(image_folder: Path) -> None:
    with pytest.raises(EncoderError, match=r"64 px does not suit 'inception_v3' .*; set a larger image.size"):
        tune(
            image_folder,
            "image.model=inception_v3",
            "image.pretrained=false",
            "image.size=64",
            "image.train.progressive=false",
        )


def test_no_memory_for_the_batch(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plait.training.encoders import image as module

    real = module.normalise

    def limited(pixels: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
        if len(pixels) > 8:
            raise torch.OutOfMemoryError("no room")
        return real(pixels, settings)

    monkeypatch.setattr(module, "normalise", limited)
    # The rehearsal takes no pixels to be normalised, so half the batch passes.
    with pytest.raises(EncoderError, match=r"out of memory at \d+ px with 16 rows a batch; 8 would fit: image"):
        tune(image_folder)


def test_nothing_to_learn_from(image_folder: Path) -> None:
    without = Rows(Pairs.from_columns([None] * 4, labels=["a", "b"] * 2), torch.tensor([0, 1] * 2))
    with pytest.raises(DataError, match="no training row has an image"):
        tune_image(without, coloured(8), 4, settings(image_folder))
    with pytest.raises(DataError, match="no validation row has an image"):
        tune_image(coloured(8), without, 4, settings(image_folder))


def test_an_unknown_layer(image_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"layers 99: 'local-dir:.*' has layers 0 to"):
        tune(image_folder, "image.train.layers=99")


def test_a_pretrained_network_keeps_its_batch_statistics(image_folder: Path) -> None:
    before = timm.create_model(f"local-dir:{image_folder}", pretrained=True).state_dict()

    def moved(*overrides: str) -> set[bool]:
        after = weights(tune(image_folder, "image.train.epochs=1", *overrides))
        return {torch.equal(after[name], value) for name, value in before.items() if "running" in name}

    assert moved() == {True}
    assert moved("image.train.batch_stats=true", "image.train.layers=all") == {False}
