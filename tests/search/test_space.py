"""The space of networks: known points, block strings, and what every network of it can do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from plait.encoders.image import TimmEncoder, create_model, data_config, save_timm
from plait.encoders.onnx import Graph
from plait.errors import ConfigError, DataError
from plait.export.graphs import image_graph
from plait.search.measure import params_of
from plait.search.space import Choice, Network, Space, Width, sizes_for, starting_point

TINY = Space((32, 48), {"tiny": Width(8, (8, 8, 8, 8, 16, 16), 16)})


@pytest.mark.parametrize(("name", "params"), [("tf_efficientnetv2_b0", 7_139_704), ("tf_efficientnetv2_s", 21_458_488)])
def test_published_networks_are_points(name: str, params: int) -> None:
    """To the last parameter, and with timm's own weights they answer as timm's own do. The paper: 21.5 M for S."""
    point = Space((64,)).known(f"{name}.in1k")
    assert point is not None
    ours, theirs = point.build(1000).eval(), timm.create_model(name, pretrained=False).eval()
    assert params_of(ours) == params_of(theirs) == params
    ours.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        assert torch.equal(ours(pixels), theirs(pixels))


def test_block_strings() -> None:
    choices: dict[str, Choice] = {"size": 32, "width": "b0/2"}
    stages = [("fused", 3, 1, 2), ("fused", 5, 4, 4), ("mbconv", 3, 1, 1), ("mbconv", 5, 6, 6), ("fused", 3, 6, 9)]
    for i, stage in enumerate([*stages, ("mbconv", 3, 4, 15)], 1):
        choices |= {f"stage{i}.{k}": v for k, v in zip(("op", "kernel", "expansion", "layers"), stage, strict=True)}
    network = Space((32,)).network(choices)
    assert network.blocks == (
        "cn_r2_k3_s1_e1_c8_skip",
        "er_r4_k5_s2_e4_c16",
        "ds_r1_k3_s2_e1_c24_se0.25",
        "ir_r6_k5_s2_e6_c48_se0.25",
        "er_r9_k3_s1_e6_c56",
        "ir_r15_k3_s2_e4_c96_se0.25",
    )
    assert (network.stem, network.features) == (16, 640)
    assert Space((32,)).found(network.arguments, 32) == network


def test_a_choice_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"^the space has no stage2\.kernel 7; it has 3, 5$"):
        TINY.network(TINY.smallest.choices | {"stage2.kernel": 7})


def covering(rows: int, seed: int) -> list[Network]:
    """Networks at random, in which each value of each choice comes up equally often."""
    rng = np.random.default_rng(seed)
    drawn = {name: [values[i % len(values)] for i in rng.permutation(rows)] for name, values in TINY.choices.items()}
    return [TINY.network({name: values[i] for name, values in drawn.items()}) for i in range(rows)]


def lives(network: Network) -> None:
    """It answers, learns, and is a timm folder."""
    model = network.build(3)
    pixels = torch.randn(4, 3, network.size, network.size, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    logits = model.train()(pixels)
    assert logits.shape == (4, 3)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    optimiser.step()
    still = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert still == []
    assert torch.isfinite(model.eval()(pixels)).all()


def exports(network: Network, folder: Path) -> None:
    """Its graph answers as it does, to one picture and to several."""
    encoder = TimmEncoder(network.build(0), data_config(network.build(0), network.size), "found")
    image_graph(encoder, folder / "model.onnx")
    graph = Graph(folder / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, network.size, network.size), np.uint8)
    expected = encoder.encode(pixels)
    scale = np.abs(expected).max()
    assert np.abs(graph({"pixels": pixels}) - expected).max() < 1e-4 * scale
    assert np.abs(graph({"pixels": pixels[:1]}) - expected[:1]).max() < 1e-4 * scale


def test_every_network_lives() -> None:
    for network in covering(12, 0):
        lives(network)


def test_networks_export(tmp_path: Path) -> None:
    for network in covering(2, 1):
        exports(network, tmp_path)


@pytest.mark.slow
def test_many_networks_live_and_export(tmp_path: Path) -> None:
    for network in covering(48, 2):
        lives(network)
        exports(network, tmp_path)


def test_a_found_network_is_a_timm_folder(tmp_path: Path) -> None:
    network = covering(1, 3)[0]
    model = network.build(5)
    save_timm(model, data_config(model, network.size), tmp_path)
    back = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    pixels = torch.rand(2, 3, network.size, network.size)
    with torch.inference_mode():
        assert torch.allclose(back(pixels), model.eval()(pixels), atol=1e-6)
    assert starting_point(TINY, f"local-dir:{tmp_path}") == network
    assert create_model(f"local-dir:{tmp_path}", False).pretrained_cfg["input_size"] == (3, network.size, network.size)


def test_no_point_of_the_space() -> None:
    with pytest.raises(ConfigError, match=r"^warm_start 'resnet18' is no point of the space; give one of tf_eff"):
        starting_point(TINY, "resnet18")


@pytest.mark.parametrize(
    ("largest", "sizes"), [(32, (32,)), (48, (32, 48)), (64, (32, 48, 64)), (60, (32, 48, 60)), (224, (112, 160, 224))]
)
def test_sizes(largest: int, sizes: tuple[int, ...]) -> None:
    assert sizes_for(largest) == sizes


def test_pictures_too_small() -> None:
    message = (
        r"^x.csv: pictures of 28 px are too small for the stages, which halve them five times; give pictures of at "
        r"least 32 px, or enlarge them by image.size=32$"
    )
    with pytest.raises(DataError, match=message):
        sizes_for(28, "x.csv")
