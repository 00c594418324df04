"""Joint training of encoders and early fusion: learns, is cached, resumed, saved and loaded."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.encoders.image import TimmEncoder
from plait.encoders.pair import EncoderPair
from plait.encoders.text import SentenceEncoder
from plait.encoders.tfidf import TfidfEncoder
from plait.errors import ConfigError, EncoderError
from plait.fusion.calibration import fit_calibration
from plait.fusion.early.towers import Head as TowersHead
from plait.fusion.inputs import HeadInputs, logits
from plait.pipeline.models import fit_model
from plait.pipeline.prepare import Preparation
from plait.training.heads.fitter import Fitter
from plait.training.loop import KeepBest
from toys import WORDS, picture

pytestmark = pytest.mark.numerics

JOINT = (
    "model=early",
    "joint.epochs=2",
    "joint.lr=1e-2",
    "image.size=32",
    "head.towers.image=[16]",
    "head.towers.text=[32,16]",
)


NOTES = {"mlp": "concatenation MLP", "towers": "towers", "huse": "HUSE"}


def moved(untuned: EncoderPair, tuned: EncoderPair, modality: str) -> bool:
    """Whether any weight of a modality's encoder is not what it was."""
    was, now = (pair.image if modality == "image" else pair.text[0] for pair in (untuned.opened(), tuned.opened()))
    assert isinstance(was, TimmEncoder | SentenceEncoder)
    assert isinstance(now, TimmEncoder | SentenceEncoder)
    before, after = was.model.state_dict(), now.model.state_dict()
    assert set(before) == set(after)
    return not all(torch.equal(value, after[name]) for name, value in before.items())


def curve_and_logits(pairs: Pairs, config: Config) -> tuple[list[dict[str, float]], torch.Tensor]:
    prepared = Preparation(pairs, config)
    fitted = fit_model(prepared, Fitter(prepared.task(), config, prepared.device), "early")
    assert fitted.encoders is not None
    modalities = prepared.inputs_of(pairs, fitted.encoders)
    return fitted.curve, logits(fitted.head, modalities)


@pytest.mark.parametrize(
    ("early", "layers"),
    [
        ("towers", ("joint.image=all", "joint.text=frozen")),
        ("mlp", ("joint.image=frozen", "joint.text=all")),
        ("huse", ("joint.image=3", "joint.text=1")),
    ],
)
def test_a_run_with_its_own_encoders_predicts_the_same_when_loaded(
    early: str, layers: tuple[str, str], drawn: Pairs, toy_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = toy_config(*JOINT, *layers, f"head.early={early}", "head.huse.image=[16]", "head.huse.text=[32,16]")
    classifier = plait.Classifier(config).fit(drawn)
    assert classifier.metrics_["note"] == f"{NOTES[early]}, tuned jointly: " + ", ".join(
        layer.removeprefix("joint.").replace("=", " ") for layer in layers
    )
    before = classifier.predict_proba(drawn)
    classifier.save(tmp_path / "run")
    loaded = plait.load(tmp_path / "run")
    np.testing.assert_allclose(loaded.predict_proba(drawn), before, atol=1e-6)
    fitted, read = classifier.engine_.encoders, loaded.encoders
    assert [e.fingerprint for e in (read.image, *read.text)] == [e.fingerprint for e in (fitted.image, *fitted.text)]
    untuned = Preparation(drawn, config).make_encoders()
    for modality, choice in zip(("image", "text"), layers, strict=True):
        assert moved(untuned, loaded.encoders, modality) != choice.endswith("frozen")
    # The head was trained for these encoders: with those it started from, it answers otherwise.
    loaded.encoders = untuned
    assert abs(loaded.predict_proba(drawn) - before).max() > 1e-4


@pytest.mark.parametrize("layers", ["all", "3"])
def test_batch_norms_learn_their_statistics_only_where_layers_are_tuned(
    layers: str, drawn: Pairs, toy_config: Callable[..., Config]
) -> None:
    config = toy_config(*JOINT, f"joint.image={layers}", "joint.epochs=1")
    encoders = (Preparation(drawn, config).make_encoders(), plait.Classifier(config).fit(drawn).engine_.encoders)
    before, after = ({k: v for k, v in e.image.model.state_dict().items() if "running" in k} for e in encoders)  # type: ignore[union-attr]
    learnt = [not torch.equal(before[name], after[name]) for name in before]
    assert learnt[-1]
    assert learnt[0] == (layers == "all")


@pytest.mark.parametrize("model", ["{folder}", "{folder}+tfidf", "tfidf+{folder}"])
def test_the_head_is_calibrated_on_what_its_encoders_make_of_the_validation_rows(
    model: str, drawn: Pairs, toy_config: Callable[..., Config], text_folder: Path
) -> None:
    """Some of these rows have no image or no text, which training and encoding must hold for the same."""
    rows = [list(column) for column in (drawn.images(), drawn.texts)]
    rows[0][::5], rows[1][1::5] = [None] * len(rows[0][::5]), [None] * len(rows[1][1::5])
    images = [None if image is None else image.load() for image in rows[0]]
    pairs = Pairs.from_columns(images, rows[1], labels=drawn.labels)
    layers = ("joint.image=all", "joint.text=all", f"text.model={model.format(folder=text_folder)}")
    config = toy_config(*JOINT, *layers, "joint.epochs=3", "head.early=towers")
    prepared = Preparation(plait.draw(rows=64, seed=7, size=32), config, val=pairs)
    fitted = fit_model(prepared, Fitter(prepared.task(), config, prepared.device), "early")
    assert fitted.encoders is not None
    was, now = prepared.make_encoders().text, fitted.encoders.text
    for one, other in zip(was, now, strict=True):
        if isinstance(one, TfidfEncoder):  # the same terms, perhaps with a linear head on them
            assert isinstance(other, TfidfEncoder)
            assert other.vocabulary == one.vocabulary
        else:
            assert other is not one
    modalities, targets = prepared.inputs_of(pairs, fitted.encoders), prepared.numbers(pairs)
    assert [int(present.sum()) for present in modalities.present.values()] == [51, 51]
    assert isinstance(fitted.head.fusion, TowersHead)
    dense = {s: x[:, fitted.spec.shape.dense(s)] for s, x in modalities.features.items()}
    fused = logits(fitted.head.fusion, HeadInputs(dense, modalities.present))
    best = min(epoch["val_loss"] for epoch in fitted.curve)
    assert F.cross_entropy(fused, targets).item() == pytest.approx(best, rel=1e-4)
    both = modalities.present["image"] & modalities.present["text"]
    calibration = fit_calibration(fused[both], targets[both], fitted.head.log_prior)
    assert float(fitted.head.temperature) == pytest.approx(calibration.temperature, rel=0.02)
    expected = calibration(fused[both], fitted.head.log_prior)
    torch.testing.assert_close(logits(fitted.head, modalities)[both].exp(), expected.exp(), atol=5e-3, rtol=0)


@pytest.mark.slow
def test_a_stopped_joint_training_gives_what_a_whole_one_gives(
    drawn: Pairs, toy_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(store: str) -> Config:
        layers = ("joint.image=all", "joint.text=all", "joint.epochs=3", f"store={tmp_path / store}")
        return toy_config(*JOINT, *layers, "head.early=towers")

    curve, whole = curve_and_logits(drawn, config("whole"))
    assert len(curve) == 3
    real, ends = KeepBest.on_train_epoch_end, []

    def stop(self: KeepBest, *args: Any) -> None:
        ends.append(0)
        if len(ends) == 3:
            raise RuntimeError("cut short")
        real(self, *args)

    monkeypatch.setattr(KeepBest, "on_train_epoch_end", stop)
    with pytest.raises(RuntimeError, match="cut short"):
        curve_and_logits(drawn, config("cut"))
    assert len(ends) == 3
    again, resumed = curve_and_logits(drawn, config("cut"))
    assert len(ends) == 4  # the third epoch alone was run once more
    assert again == curve
    assert torch.equal(resumed, whole)
    # A third call finds the training finished, one with another seed does not.
    assert torch.equal(curve_and_logits(drawn, config("cut"))[1], whole)
    assert len(ends) == 4
    other, _ = curve_and_logits(drawn, config("cut").model_copy(update={"seed": 1}))
    assert len(ends) == 7
    assert other != curve


def striped(upright: bool, rng: np.random.Generator) -> bytes:
    """Stripes of random width, place and colours."""
    bright = (np.arange(32) + rng.integers(12)) // rng.integers(3, 6) % 2 == 0
    one, other = rng.integers(0, 256, (2, 3), np.uint8)
    pixels = np.where(np.broadcast_to(bright[:, None, None], (32, 32, 3)), one, other)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.swapaxes(0, 1) if upright else pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def crossed(rows: int, seed: int) -> Pairs:
    """Four classes, ``upright first`` to ``lying last``: how the stripes run, and whether red comes before green.

    Colours tell nothing, and the words alone tell nothing: a head on random encoders sees little of either.
    """
    rng = np.random.default_rng(seed)
    images, texts, labels = [], [], []
    for upright, first in rng.integers(0, 2, (rows, 2)).astype(bool):
        a, b, c = (" ".join(rng.choice(WORDS[:9], rng.integers(3))) for _ in range(3))
        one, other = ("red", "green") if first else ("green", "red")
        images.append(striped(upright, rng))
        texts.append(f"{a} {one} {b} {other} {c}")
        labels.append(f"{'upright' if upright else 'lying'} {'first' if first else 'last'}")
    return Pairs.from_columns(images, texts, labels=labels)


@pytest.mark.parametrize(("tuned", "epochs"), [("image", 2), ("text", 6)])
def test_a_tuned_modality_learns_what_a_frozen_one_cannot_tell(
    tuned: str, epochs: int, toy_config: Callable[..., Config]
) -> None:
    frozen = "text" if tuned == "image" else "image"
    towers = ("head.early=towers", "head.towers.image=[32]", "head.towers.text=[32]", "head.modality_dropout=0")
    rates = ("joint.lr=3e-3", "joint.head_lr=3e-3", "joint.batch=16", f"joint.epochs={epochs}")
    layers = (f"joint.{tuned}=all", f"joint.{frozen}=frozen")
    config = toy_config("model=early", "image.size=32", *towers, *rates, *layers)
    test = crossed(200, 2)
    found = plait.Classifier(config).fit(crossed(500, 0), val=crossed(80, 1)).predict(test)
    words = [np.array([[*map(str, label.split())] for label in labels]) for labels in (found, map(str, test.labels))]
    image, text = (words[0] == words[1]).mean(0)
    right = {"image": image, "text": text}
    assert right[tuned] > 0.9
    assert right[frozen] < 0.8


@pytest.mark.parametrize("model", ["tfidf", "{folder}+tfidf+{folder}"])
def test_only_one_text_encoder_with_weights_can_be_tuned(
    model: str, drawn: Pairs, toy_config: Callable[..., Config], text_folder: Path
) -> None:
    name = model.format(folder=text_folder)
    with pytest.raises(ConfigError) as caught:
        plait.Classifier(toy_config(*JOINT, "joint.text=all", f"text.model={name}")).fit(drawn)
    assert str(caught.value) == (
        f"joint.text=all needs one text encoder with weights to tune, not '{name}'; "
        "set joint.text=frozen or another text.model"
    )


def test_a_layer_the_encoder_has_not(drawn: Pairs, toy_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"layers 9: '.*' has layers 0 to \d; give one of those, 'all' or 'frozen'"):
        plait.Classifier(toy_config(*JOINT, "joint.image=9")).fit(drawn)


def test_no_memory_names_a_batch_that_fits(
    drawn: Pairs, toy_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    from plait.training.encoders import joint as module

    real = module.normalise

    def limited(pixels: torch.Tensor, settings: dict[str, object]) -> torch.Tensor:
        if len(pixels) > 8:
            raise torch.OutOfMemoryError("no room")
        return real(pixels, settings)

    monkeypatch.setattr(module, "normalise", limited)
    with pytest.raises(EncoderError, match=r"joint\.batch=8"):
        plait.Classifier(toy_config(*JOINT, "joint.image=all")).fit(drawn)


def test_an_image_network_is_tuned_beside_tfidf_alone(drawn: Pairs, toy_config: Callable[..., Config]) -> None:
    layers = ("joint.image=all", "joint.text=frozen", "text.model=tfidf")
    classifier = plait.Classifier(toy_config(*JOINT, *layers)).fit(drawn)
    assert [encoder.name for encoder in classifier.engine_.encoders.text] == ["tfidf"]
    assert moved(Preparation(drawn, classifier.config).make_encoders(), classifier.engine_.encoders, "image")


def patchy(rows: int, image: set[int], text: set[int], first: int = 0) -> Pairs:
    """Two classes; the given rows alone have a readable image, or a text; one has a broken file, others nothing."""
    broken = f"no image {first}".encode()
    images = [picture(first + i + 1) if i in image else broken if i == 4 else None for i in range(rows)]
    texts = [f"dish number {first + i}" if i in text else ("", None)[i % 2] for i in range(rows)]
    return Pairs.from_columns(images, texts, labels=["ab"[i // 2 % 2] for i in range(rows)])


def seen_by_networks(
    train: Pairs, val: Pairs, config: Config, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[torch.Tensor], list[list[str]]]:
    """The batches of pixels and of texts that joint training gives to the networks."""
    from plait.training.encoders import joint as module

    pixels, texts = list[torch.Tensor](), list[list[str]]()
    normal, prompted = module.normalise, module.prompted
    monkeypatch.setattr(module, "normalise", lambda x, settings: pixels.append(x) or normal(x, settings))
    monkeypatch.setattr(module, "prompted", lambda m, x, prompt: texts.append(x) or prompted(m, x, prompt))
    plait.Classifier(config).fit(train, val=val)
    return pixels, texts


@pytest.mark.parametrize("early", ["towers", "huse"])
def test_only_rows_that_have_one_go_through_a_network(
    early: str, toy_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(
        *JOINT, "joint.image=all", "joint.text=all", "joint.epochs=1", "joint.batch=40", f"head.early={early}",
        "head.huse.image=[16]", "head.huse.text=[16]",
    )  # fmt: skip
    train, val = patchy(40, set(range(0, 40, 3)), set(range(25))), patchy(12, {0, 1, 2}, {5}, 40)
    pixels, texts = seen_by_networks(train, val, config, monkeypatch)
    assert [len(batch) for batch in pixels] == [14, 3]
    assert all(batch.flatten(1).any(1).all() for batch in pixels)
    assert [sorted(batch) for batch in texts] == [sorted(f"dish number {i}" for i in range(25)), ["dish number 45"]]


@pytest.mark.parametrize(("readable", "batches"), [([], []), ([7], [1]), ([7, 9], [2, 2])])
def test_no_batch_norm_learns_from_one_picture(
    readable: list[int], batches: list[int], toy_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one picture is validated on, but not trained on."""
    config = toy_config(*JOINT, "joint.image=all", "joint.epochs=1", "joint.batch=16", "head.early=towers")
    train, val = (patchy(16, set(readable), set(range(16)), first) for first in (0, 16))
    pixels, _ = seen_by_networks(train, val, config, monkeypatch)
    assert [len(batch) for batch in pixels] == batches


def test_features_of_a_batch_with_gaps(image_encoder: TimmEncoder, text_encoder: SentenceEncoder) -> None:
    from plait.training.encoders.joint import _Network

    network = _Network(image_encoder, text_encoder, torch.nn.Identity(), (2, 34)).eval()
    known = {"image": torch.ones(3, 96), "text": torch.arange(3 * 36.0).view(3, 36)}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 48), np.uint8)
    words = ["red soup"]
    rows, row = torch.tensor([True, False, True]), torch.tensor([False, True, False])
    tokens = text_encoder.model.preprocess(words)
    found = network.features({"image": (torch.from_numpy(pixels), rows), "text": (tokens, row)}, known)
    wanted = np.zeros((3, 96), np.float32)
    wanted[[0, 2]] = image_encoder.encode(pixels)
    np.testing.assert_allclose(found["image"].numpy(), wanted, atol=1e-5)
    vectors = known["text"].clone()
    vectors[:, 2:34] = 0
    vectors[1, 2:34] = torch.from_numpy(text_encoder.encode(words)[0])
    torch.testing.assert_close(found["text"], vectors, atol=1e-5, rtol=0)
    none = torch.zeros(3, dtype=torch.bool)
    empty = network.features({"image": (torch.empty(0, dtype=torch.uint8), none), "text": ({}, none)}, known)
    assert not empty["image"].any()
    assert not empty["text"][:, 2:34].any()
    assert torch.equal(empty["text"][:, [0, 1, 34, 35]], known["text"][:, [0, 1, 34, 35]])


def test_permuted_labels_give_chance_through_joint_training(toy_config: Callable[..., Config]) -> None:
    """Each row says its number and nothing else: known by heart, and chance on any other row."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice([*"abcdefghijklmnopqrstuvwxyz"], 5)) for _ in range(300)]
    pairs = Pairs.from_columns([picture(i) for i in range(300)], words, rng.permutation(["a", "b"] * 150))
    config = toy_config(
        *JOINT,
        "joint.text=all",
        "joint.epochs=20",
        "joint.batch=16",
        "joint.label_smoothing=0",
        "head.early=towers",
        "head.modality_dropout=0",
    )
    found = plait.compare(pairs, config=config)
    for name, model in found.models.items():
        right = float((model.probabilities.argmax(1) == found.targets).mean())
        assert right < 0.5 + 3.5 * np.sqrt(0.25 / len(found.targets)), name
    losses = [epoch["train_loss"] for epoch in found.models["early"].curves]
    assert min(losses) < 0.6  # it did learn its own rows
