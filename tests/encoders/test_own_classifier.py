"""The classifier that an image encoder was tuned with: read from its folder, and an expert beside the other heads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from plait.config import Config
from plait.data.pairs import Pairs
from plait.encoders.classifier import OwnClassifier
from plait.encoders.image import data_config, load_image_encoder, save_timm
from plait.fusion.inputs import logits
from plait.fusion.modality import ExpertSpec, Shape
from plait.fusion.spec import HeadSpec, build_model
from plait.pipeline.models import fit_model
from plait.pipeline.prepare import Preparation
from plait.training.heads.fitter import Fitter
from plait.training.heads.modality import fit_modality
from plait.training.heads.task import Task, TaskRows
from telling import accuracy, config, over_separated, small

LABELS = ["bread", "rice", "soup"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = timm.create_model("test_resnet", num_classes=3)
    save_timm(model, data_config(model, 48), tmp_path / "net", LABELS)
    return tmp_path / "net"


def test_it_answers_as_the_network_does(folder: Path, toy_config: Callable[..., Config]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 48, 48), np.uint8)
    encoder = load_image_encoder(toy_config(f"image.model=local-dir:{folder}", "image.size=48").image)
    own = OwnClassifier.of(folder, LABELS, encoder.dim)
    assert own is not None
    whole = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    mean, std = (torch.tensor(whole.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    with torch.inference_mode():
        expected = whole((torch.from_numpy(pixels) / 255 - mean) / std)
    found = torch.from_numpy(encoder.encode(pixels)) @ own.weight + own.bias
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "other", [{"labels": ["rice", "bread", "soup"]}, {"labels": LABELS[:2]}, {"dim": 97}], ids=["order", "fewer", "dim"]
)
def test_of_other_classes_or_features_there_is_none(folder: Path, other: dict[str, object]) -> None:
    dim = timm.create_model("test_resnet").num_features
    assert OwnClassifier.of(folder, LABELS, dim) is not None
    assert OwnClassifier.of(folder, **{"labels": LABELS, "dim": dim, **other}) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("spoilt", ["no labels", "no name", "no weights", "no JSON", "nothing"])
def test_a_folder_without_one(folder: Path, spoilt: str) -> None:
    dim = timm.create_model("test_resnet").num_features
    config = json.loads((folder / "config.json").read_text())
    if spoilt == "no labels":
        del config["label_names"]
    elif spoilt == "no name":
        config["pretrained_cfg"] = None
    (folder / "config.json").write_text("{" if spoilt == "no JSON" else json.dumps(config))
    if spoilt == "no weights":
        (folder / "model.safetensors").write_bytes(b"not weights")
    assert OwnClassifier.of(folder / "gone" if spoilt == "nothing" else folder, LABELS, dim) is None


# ------------------------------------------------------------------ as an expert


def robust(task: Task) -> Task:
    """With a classifier of the image that knows what the features mean: one number for each class."""
    width = task.train.features["image"].shape[1]
    own = OwnClassifier(4 * torch.eye(width, task.classes), torch.zeros(task.classes))
    return replace(task, own={"image": {0: own}})


def test_it_is_chosen_on_held_out_rows_and_answers() -> None:
    task = small()
    shape = Shape.of({"image": 16}, task.classes)
    alone, beside = (fit_modality("image", TaskRows(one, config().train), config()) for one in (task, robust(task)))
    assert alone.note == "linear head on image features"
    assert len(alone.specs) == 1
    assert "the own classifier of image" in beside.note
    assert beside.head.experts[-1].output.weight.tolist() == (4 * torch.eye(task.classes, 16)).tolist()
    assert shape.dense("image") == beside.head.experts[-1].columns.tolist()
    # Few rows are held out in turn: it has learnt from none of them, so it answers them as they are.
    expected = 4 * torch.cat([task.val.features["image"], task.train.features["image"]])[:, : task.classes]
    assert beside.held.answers.targets.tolist() == [*task.val_targets.tolist(), *task.targets.tolist()]
    torch.testing.assert_close(beside.fits[-1].held_logits, expected)


def test_it_helps_where_heads_trust_features_of_rows_that_the_encoder_knows_by_heart() -> None:
    task, rows, targets = over_separated(frozenset({"image"}))
    noisy = replace(task.train, features={**task.train.features, "image": torch.randn(1200, 16)})
    found = [
        accuracy(logits(Fitter(one, config()).fit("image").head, rows), targets)
        for one in (replace(task, train=noisy), replace(robust(task), train=noisy))
    ]
    assert found[0] < 0.25
    assert found[1] > 0.35  # 0.4 at best


def test_not_where_validation_rows_are_ones_that_it_has_learnt_from() -> None:
    task = replace(robust(small()), val_seen=True)
    assert fit_modality("image", TaskRows(task, config().train), config()).note == "linear head on image features"


TUNED = ("image.tune=true", "image.train.epochs=2", "text.model=tfidf")


def test_a_head_with_it_is_built_again_from_its_spec() -> None:
    """Two experts that read the same columns."""
    fitted = Fitter(robust(small()), config()).fit("image")
    spec = replace(fitted.spec, experts={"image": (ExpertSpec((0,)), ExpertSpec((0,)))})
    head = build_model(spec)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(parameter)))
    again = build_model(HeadSpec.from_json(json.loads(json.dumps(spec.as_json()))))
    again.load_state_dict(head.state_dict())
    assert torch.equal(logits(again.eval(), small().val), logits(head.eval(), small().val))
    assert not torch.equal(logits(again, small().val), logits(fitted.head, small().val))


def test_a_network_that_is_trained_on_with_the_head_has_outgrown_it(
    drawn: Pairs, toy_config: Callable[..., Config], tmp_path: Path
) -> None:
    joint = ("joint.image=all", "joint.epochs=1", "head.early=towers", f"store={tmp_path}/store")
    chosen = toy_config(*TUNED, *joint, "model=early")
    prepared = Preparation(drawn, chosen)
    task = prepared.task()
    assert task.own["image"].keys() == {0}
    early = fit_model(prepared, Fitter(task, chosen, prepared.device), "early")
    assert len(early.spec.experts["image"]) == 1
