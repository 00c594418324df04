from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from plait.config import Config, configure
from plait.encoders.image import (
    TimmEncoder,
    create_model,
    crop_mode,
    data_config,
    kept_image_encoder,
    load_image_encoder,
)
from plait.errors import EncoderError
from toys import make_image_folder

pytestmark = pytest.mark.numerics

REMEDY = (
    "check the network, give a folder (image.model=local-dir:FOLDER), or train from scratch (image.pretrained=false)"
)


def refused(name: str, pretrained: bool = True) -> str:
    with pytest.raises(EncoderError) as caught:
        create_model(name, pretrained)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_name() -> None:
    assert refused("resnet5O") == "image.model 'resnet5O': timm has no model 'resnet5O'. Did you mean 'resnet50'?"
    assert refused("zzzzzz", pretrained=False) == (
        "image.model 'zzzzzz': timm has no model 'zzzzzz'. See timm.list_models()."
    )


def test_a_model_without_weights() -> None:
    assert refused("resnet200") == f"image.model 'resnet200' has no pretrained weights in timm; {REMEDY}"
    assert create_model("test_resnet", pretrained=False) is not None


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    start = time.monotonic()
    message = refused("test_resnet.r160_in1k")
    assert message.startswith("image.model 'test_resnet.r160_in1k': its pretrained weights cannot be had (")
    assert message.endswith(f"); {REMEDY}")
    assert refused("hf-hub:timm/test_resnet.r160_in1k").endswith(f"; {REMEDY}")
    assert time.monotonic() - start < 30
    assert constants.HF_HUB_OFFLINE is False


def test_folders_that_are_no_models(tmp_path: Path, image_folder: Path) -> None:
    name = f"local-dir:{tmp_path}"
    assert refused(name) == f"image.model '{name}': no config.json in that folder; give a timm local-dir folder"
    (tmp_path / "config.json").write_text("{")
    assert refused(name).startswith(f"image.model '{name}': config.json is not JSON (")
    shutil.copy(image_folder / "config.json", tmp_path)
    assert refused(name).startswith(f"image.model '{name}' cannot be loaded: ")  # its weights are missing
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    assert refused(name).startswith(f"image.model '{name}' cannot be loaded: ")


def fingerprint(folder: Path, *overrides: str) -> str:
    return load_image_encoder(configure(overrides=[f"image.model=local-dir:{folder}", *overrides]).image).fingerprint


def test_fingerprint_names_weights_and_preprocessing(image_folder: Path, tmp_path: Path) -> None:
    usual = fingerprint(image_folder)
    assert usual == fingerprint(image_folder)
    assert usual == fingerprint(Path(shutil.copytree(image_folder, tmp_path / "moved")))
    assert usual == fingerprint(image_folder, "image.batch=7", "image.workers=1")
    others = {
        usual,
        fingerprint(image_folder, "image.size=64"),
        fingerprint(make_image_folder(tmp_path / "seed", seed=1)),
        fingerprint(make_image_folder(tmp_path / "size", size=40)),
    }
    assert len(others) == 4


def test_one_changed_weight_changes_the_fingerprint(image_folder: Path) -> None:
    model = create_model(f"local-dir:{image_folder}", pretrained=True)
    settings = load_image_encoder(configure(overrides=[f"image.model=local-dir:{image_folder}"]).image).settings
    before = TimmEncoder(model, settings, "toy").fingerprint
    with torch.no_grad():
        next(model.parameters())[0, 0, 0, 0] += 1e-6
    assert TimmEncoder(model, settings, "toy").fingerprint != before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", (3, 40, 40)), ("interpolation", "nearest"), ("mean", (0.1, 0.1, 0.1)), ("std", (0.3, 0.3, 0.3)),
        ("crop_pct", 0.5), ("crop_mode", "squash"),
    ],
)  # fmt: skip
def test_every_step_of_preprocessing_is_in_the_fingerprint(image_folder: Path, key: str, value: object) -> None:
    model = create_model(f"local-dir:{image_folder}", pretrained=True)
    settings = data_config(model)
    assert settings[key] != value
    prints = {TimmEncoder(model, changed, "toy").fingerprint for changed in (settings, {**settings, key: value})}
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        ("lite0", "null", "squash"), ("resnet50.a1_in1k", "null", "squash"), ("lite0", "center", "center"),
        ("local-dir:some", "null", None), ("hf-hub:some/one", "null", None), ("local-dir:some", "border", "border"),
    ],
)  # fmt: skip
def test_whole_pictures_unless_a_folder_or_a_key_says_otherwise(model: str, asked: str, expected: str | None) -> None:
    config = configure(overrides=[f"image.model={model}", f"image.crop_mode={asked}"])
    assert crop_mode(config.image) == expected


def test_a_crop_mode_that_is_asked_for(toy_config: Callable[..., Config], tmp_path: Path) -> None:
    own, asked = (
        kept_image_encoder([toy_config(f"image.crop_mode={mode}").image], "cpu", tmp_path)
        for mode in ("null", "squash")
    )
    again = kept_image_encoder([toy_config("image.crop_mode=squash").image], "cpu", tmp_path)  # by what was noted
    assert again.fingerprint == asked.fingerprint != own.fingerprint
    assert (own.preprocess.settings["crop_mode"], again.preprocess.settings["crop_mode"]) == ("center", "squash")  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [None, 64])
def test_saved_and_loaded(toy_config: Callable[..., Config], tmp_path: Path, size: int | None) -> None:
    encoder = load_image_encoder(toy_config(f"image.size={'null' if size is None else size}").image)
    assert encoder.size == (size or 48)
    settings = encoder.save(tmp_path / "saved")
    assert settings == {"kind": "timm", "name": encoder.name, "precision": "32"}
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["config.json", "model.safetensors"]
    loaded = TimmEncoder.load(tmp_path / "saved", settings)
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.dim == encoder.dim == 96
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, encoder.size, encoder.size), np.uint8)
    features = encoder.encode(pixels)
    assert features.shape == (3, 96)
    np.testing.assert_array_equal(loaded.encode(pixels), features)


def test_a_classifier_in_the_folder_is_removed(tmp_path: Path) -> None:
    import timm

    from plait.encoders.image import save_timm

    model = timm.create_model("test_resnet", pretrained=False, num_classes=7)
    save_timm(model, data_config(model, 48), tmp_path / "seven")
    encoder = load_image_encoder(configure(overrides=[f"image.model=local-dir:{tmp_path}/seven"]).image)
    assert encoder.encode(np.zeros((2, 3, 48, 48), np.uint8)).shape == (2, encoder.dim) == (2, 96)
