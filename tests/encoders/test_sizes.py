"""Models at full size are those of the papers: counted parameters, and what the presets of the papers name."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from plait.config import Config, configure
from plait.encoders.lite import LITES
from plait.fusion.inputs import HeadInputs
from plait.training.encoders.stages import plan
from plait.training.heads.fitter import Fitter
from plait.training.heads.task import Task

IMAGE, TEXT, CLASSES = 1280, 1024, 101  # EfficientNetV2-S, UAE-Large, UPMC Food-101


def full_size(name: str) -> Any:
    """A timm model without memory for its weights."""
    with torch.device("meta"):
        return timm.create_model(name, pretrained=False)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("inception_v3", 23_834_568),  # without the auxiliary classifier
        ("tf_efficientnetv2_s", 21_458_488),
        ("tf_efficientnetv2_m", 54_139_356),
        ("tf_efficientnetv2_l", 118_515_272),
    ],
)
def test_parameters_with_1000_classes(name: str, count: int) -> None:
    assert parameters(full_size(name)) == count


def study_head(config: Config) -> nn.Module:
    """The untrained early-fusion head of a configuration, for features and classes of the study."""
    features = {"image": torch.zeros(CLASSES, IMAGE), "text": torch.zeros(CLASSES, TEXT)}
    rows = HeadInputs(features, {modality: torch.ones(CLASSES, dtype=torch.bool) for modality in features})
    targets = torch.arange(CLASSES)
    return Fitter(Task(rows, targets, targets % 3, rows, targets, CLASSES), config).new_early()


def test_the_joint_network_of_the_study() -> None:
    """21.2 million: the study counted like Keras, where the running statistics are parameters that are not trained."""
    config = configure("efficientnetv2-angle")
    encoder = full_size(config.image.model.partition(".")[0])
    encoder.reset_classifier(0)
    assert encoder.num_features == IMAGE
    statistics = {name: buffer for name, buffer in encoder.named_buffers() if "num_batches_tracked" not in name}
    assert {name.rpartition(".")[2] for name in statistics} == {"running_mean", "running_var"}
    head = study_head(config)
    counts = [parameters(encoder), sum(buffer.numel() for buffer in statistics.values()), parameters(head)]
    assert counts == [20_177_488, 153_872, 878_949]
    assert sum(counts) == 21_210_309
    assert all(parameter.requires_grad for parameter in head.parameters())


def test_the_preset_of_the_study() -> None:
    config = configure("efficientnetv2-angle")
    assert (config.model, config.head.early) == ("early", "towers")
    assert (config.image.model, config.image.size) == ("tf_efficientnetv2_s.in1k", 299)
    assert config.text.model == "WhereIsAI/UAE-Large-V1"
    assert (config.image.tune, config.joint.image, config.joint.text) == (True, "all", "frozen")
    sizes = [stage.size for stage in plan(config.image.train, 299)]
    assert len(sizes) == 4  # progressive learning, up to the whole size
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 299


@pytest.mark.parametrize(("name", "model"), [("gallo-2020-late", "late"), ("gallo-2020-early", "early")])
def test_the_presets_of_gallo(name: str, model: str) -> None:
    """InceptionV3; a frozen BERT with an LSTM on its token vectors."""
    config = configure(name)
    assert (config.model, config.head.late) == (model, "mean")
    assert (config.image.model.partition(".")[0], config.image.size) == ("inception_v3", 299)
    assert [stage.size for stage in plan(config.image.train, 299)] == [299]
    assert config.text.model == "google-bert/bert-base-uncased"
    assert (config.text.train.tower, config.text.train.layers) == ("lstm", "frozen")
    assert config.image.tune
    assert config.text.tune


def test_names_of_the_presets_have_weights() -> None:
    for name in ("efficientnetv2-angle", "gallo-2020-late", "gallo-2020-early", "huse-2019", "best"):
        assert timm.is_model_pretrained(configure(name).image.model)
    for name in ("quick", "demo"):
        assert timm.is_model_pretrained(LITES[configure(name).image.model].architecture)
