"""Every preset trains from end to end: on drawn rows, for an epoch or two, with toys for encoders that need a hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import plait
from plait.config import configure, presets
from plait.encoders.lstm import BiLSTM
from plait.encoders.text import SentenceEncoder
from plait.report.summary import summary
from toys import make_image_folder

pytestmark = pytest.mark.slow

FEW = (
    "image.train.stages=null",
    "image.train.epochs=2",
    "text.train.epochs=1",
    "joint.epochs=2",
    "train.epochs=3",
    "head.folds=2",
)
QUICK = ("device=cpu", "image.workers=0", *FEW)
JOINT = ", tuned jointly: image all, text frozen"
BOTH = frozenset({"image", "text"})


@dataclass(frozen=True)
class Promise:
    """What a preset says that it trains.

    Attributes:
        early: how the note of early fusion starts. late: that of late fusion.
        tuned: modalities whose encoder is trained on the rows.
        network: the toy that stands for its image model.
        lstm: whether token vectors go through an LSTM.
    """

    early: str
    late: str = ""
    tuned: frozenset[str] = frozenset()
    network: str = "test_efficientnet"
    lstm: bool = False


PROMISES = {
    "best": Promise("concatenation MLP", tuned=BOTH),
    "demo": Promise("concatenation MLP"),
    "efficientnetv2-angle": Promise(f"towers{JOINT}", tuned=frozenset({"image"})),
    "gallo-2020-early": Promise(f"towers{JOINT}", late="mean", tuned=BOTH, network="test_resnet", lstm=True),
    "gallo-2020-late": Promise("concatenation MLP", late="mean", tuned=BOTH, network="test_resnet", lstm=True),
    "huse-2019": Promise("HUSE"),
    "quick": Promise("concatenation MLP"),
    "tuned": Promise("concatenation MLP", tuned=BOTH),
}


def test_no_preset_is_left_out() -> None:
    assert set(PROMISES) == set(presets())


@pytest.mark.parametrize("name", PROMISES)
def test_a_preset_trains(name: str, text_folder: Path, tmp_path: Path) -> None:
    promise = PROMISES[name]
    folder = make_image_folder(tmp_path / "image", name=promise.network)
    toys = [f"image.model=local-dir:{folder}", "image.size=48", f"text.model={text_folder}"]
    config = configure(name, overrides=[*QUICK, *toys])
    train, test = plait.draw(rows=240, seed=1, size=48), plait.draw(rows=48, seed=2, size=48)

    evaluation = plait.compare(train, test, config)
    scores = summary(evaluation)["models"]
    assert list(scores) == ["image", "text", "late", "early"]
    for model, result in evaluation.models.items():
        assert all(0 <= scores[model][metric] <= 1 for metric in ("accuracy", "top5", "macro_f1", "ece"))
        assert result.probabilities.shape == (48, 16)
        np.testing.assert_allclose(result.probabilities.sum(1), 1, atol=1e-5)
    assert evaluation.models["early"].note.startswith(promise.early)
    assert evaluation.models["late"].note.startswith(promise.late)
    assert ("tuned jointly" in evaluation.models["early"].note) == promise.early.endswith(JOINT)
    assert {key for key in evaluation.seconds if key.startswith("tune_")} == {f"tune_{s}" for s in promise.tuned}
    epochs = {"image": 2 if "image" in promise.tuned else 3, "text": 1 if "text" in promise.tuned else 3, "late": 0}
    epochs["early"] = 2 if promise.early.endswith(JOINT) else 3
    assert {model: len(result.curves) for model, result in evaluation.models.items()} == epochs

    # The same rows, so nothing is tuned again: `fit` keeps one of the models compared, and a run is that model.
    classifier = plait.Classifier(config).fit(train)
    model = classifier.engine_.head.spec.model
    assert config.model in (model, "auto")
    found = classifier.predict_proba(test)
    np.testing.assert_allclose(found, evaluation.models[model].probabilities, atol=1e-4)
    classifier.save(tmp_path / "run")
    loaded = plait.load(tmp_path / "run", device="cpu")
    np.testing.assert_allclose(loaded.predict_proba(test), found, atol=1e-5)
    assert loaded.metrics["note"] == evaluation.models[model].note
    if promise.lstm:
        (encoder,) = loaded.encoders.text
        assert isinstance(encoder, SentenceEncoder)
        assert [type(module) for module in encoder.model][1] is BiLSTM


def test_inception_itself(text_folder: Path) -> None:
    """The network of Gallo et al. at a third of its size in pixels, from random weights."""
    quick = ("image.pretrained=false", "image.size=96", f"text.model={text_folder}", "model=image")
    config = configure("gallo-2020-late", overrides=[*QUICK, *quick, "image.train.epochs=1", "image.train.batch=16"])
    rows = plait.draw(rows=64, seed=1, size=96)
    classifier = plait.Classifier(config).fit(rows)
    encoder = classifier.engine_.encoders.image
    assert encoder is not None
    assert (encoder.architecture, encoder.size, encoder.dim) == ("inception_v3", 96, 2048)
    assert sum(parameter.numel() for parameter in encoder.model.parameters()) == 23_834_568 - 2049 * 1000
    assert classifier.predict_proba(rows).shape == (64, 16)
