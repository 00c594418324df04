"""Folded batch norms, and encoding in bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from plait.config import Config
from plait.encoders import base
from plait.encoders.folding import folded
from plait.encoders.image import TimmEncoder, load_image_encoder
from plait.encoders.text import SentenceEncoder, load_sentence_encoder
from plait.features.encode import encode_images, encode_texts
from plait.features.store import FeatureStore
from toys import numbered

pytestmark = pytest.mark.numerics


def unsettled(model: nn.Module) -> nn.Module:
    """With norms that change what they are given, by statistics of what passes through them, as training leaves them.

    Statistics from elsewhere would let numbers grow from layer to layer, until the last bit of a pixel decides.
    """
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.uniform_(-0.5, 0.5)
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(8, 3, 96, 96))
    return model.eval()


def apart(model: nn.Module, inputs: torch.Tensor) -> float:
    """How far a folded network's answers are from its own, in units of rounding of the largest."""
    fast = folded(model, inputs)
    assert fast is not model
    left = [sum(isinstance(module, nn.BatchNorm2d) for module in one.modules()) for one in (fast, model)]
    assert left[0] < left[1] / 4
    with torch.inference_mode():
        wanted = model(inputs)
        return float((fast(inputs) - wanted).abs().max() / wanted.abs().max()) / torch.finfo(inputs.dtype).eps


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "tf_efficientnetv2_b0", "inception_v3"])
def test_folding_changes_no_answer(name: str) -> None:
    """Folding is an identity, so that rounding alone is left: some units a layer, carried on by the next ones.

    How many they come to shows in 64 bits, where nothing else can hide beside them: an error in the algebra would be
    of the size of the answers. In 32 bits the same layers carry the same units on; one order of magnitude is left for
    the order in which a processor's library sums up.
    """
    torch.manual_seed(0)
    model = unsettled(timm.create_model(name, pretrained=False, num_classes=0))
    inputs = torch.rand(2, 3, 96, 96)
    exact = apart(copy.deepcopy(model).double(), inputs.double())
    assert exact < 1e4  # 2e-12 of the answers
    assert apart(model, inputs) < 10 * max(exact, 10)


class Elsewhere(nn.Module):
    """Its norm stands behind the convolution, and runs before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(inputs))  # type: ignore[no-any-return]


def test_what_cannot_be_folded_is_left_alone() -> None:
    model = unsettled(Elsewhere())
    assert folded(model, torch.rand(2, 3, 4, 4)) is model


BOTH = ("32", "bf16")
NEAR = {"32": 1e-5, "bf16": 1e-2}  # of the largest feature: what other batches may change


def image_encoders(config: Callable[..., Config]) -> dict[str, TimmEncoder]:
    return {p: load_image_encoder(config(f"image.precision={p}").image) for p in BOTH}


def text_encoders(config: Callable[..., Config], folder: Path) -> dict[str, SentenceEncoder]:
    return {p: load_sentence_encoder(str(folder), config(f"text.precision={p}").text) for p in BOTH}


def noise(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, size, size), np.uint8)


def require_two_kinds(encode: dict[str, Callable[[Any], np.ndarray]], rows: Any) -> None:
    """Each precision gives one kind of features: alone, a few, or many at a time; in bf16 not those of 32 bits."""
    found = {p: encode[p](rows) for p in BOTH}
    most = np.abs(found["32"]).max()
    assert 0 < np.abs(found["bf16"] - found["32"]).max() < 0.03 * most
    for p in BOTH:
        assert found[p].dtype == np.float32
        for few in (1, 3, 8):
            parts = np.concatenate([encode[p](rows[i : i + few]) for i in range(0, len(rows), few)])
            np.testing.assert_allclose(parts, found[p], atol=NEAR[p] * most)
            apart = {q: np.abs(parts - found[q]).mean() for q in BOTH}
            assert apart[p] < 0.2 * apart["bf16" if p == "32" else "32"]


def test_images_of_one_precision_are_one_kind_of_features(toy_config: Callable[..., Config]) -> None:
    encoders = image_encoders(toy_config)
    require_two_kinds({p: encoders[p].encode for p in BOTH}, noise(24, encoders["32"].size))
    assert encoders["32"].fingerprint != encoders["bf16"].fingerprint


def test_texts_of_one_precision_are_one_kind_of_features(toy_config: Callable[..., Config], text_folder: Path) -> None:
    """Texts of 1 to 7 words, which are padded differently in every batch."""
    encoders = text_encoders(toy_config, text_folder)
    texts = ["soup " * (1 + number % 7) + str(number) for number in range(24)]
    require_two_kinds({p: encoders[p].encode for p in BOTH}, texts)
    assert encoders["32"].fingerprint != encoders["bf16"].fingerprint


@pytest.mark.parametrize("faster", [True, False])
def test_auto_has_the_fingerprint_of_what_it_computes_in(
    faster: bool, toy_config: Callable[..., Config], text_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [image_encoders(toy_config), text_encoders(toy_config, text_folder)]
    monkeypatch.setattr(base, "has_bf16", lambda device: faster)
    image = load_image_encoder(toy_config("image.precision=auto").image)
    text = load_sentence_encoder(str(text_folder), toy_config("text.precision=auto").text)
    for auto, encoders in zip((image, text), named, strict=True):
        assert auto.fingerprint == encoders["bf16" if faster else "32"].fingerprint


def test_features_in_the_store_do_not_tell_how_many_rows_a_run_had(
    toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path
) -> None:
    image, text = image_encoders(toy_config)["bf16"], text_encoders(toy_config, text_folder)["bf16"]
    pairs, few, many = numbered(30), FeatureStore(tmp_path / "few"), FeatureStore(tmp_path / "many")
    for encode, encoder in ((encode_images, image), (encode_texts, [text])):
        for start in range(0, 30, 3):
            encode(encoder, pairs.select(range(start, start + 3)), few)  # type: ignore[operator]
        kept, whole = (encode(encoder, pairs, store) for store in (few, many))  # type: ignore[operator]
        assert (kept.encoded, whole.encoded) == (0, 30)
        np.testing.assert_allclose(kept.vectors, whole.vectors, atol=2e-3 * np.abs(whole.vectors).max())


def test_norms_are_folded_whatever_is_encoded_first(toy_config: Callable[..., Config]) -> None:
    first, other = (image_encoders(toy_config)["bf16"] for _ in range(2))
    for encoder in (first, other):
        unsettled(encoder.model)
    pixels = noise(24, first.size)
    state = torch.get_rng_state()
    many = first.encode(pixels)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.folded is not first.model
    other.encode(pixels[:1])
    np.testing.assert_array_equal(other.encode(pixels), many)


def test_32_bits_on_a_gpu_are_no_tf32() -> None:
    """cuDNN convolves 32-bit numbers in TF32 unless told otherwise."""
    before = torch.backends.cudnn.allow_tf32
    with base.computing(False, torch.device("cuda")):
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
