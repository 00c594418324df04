"""Folded batch norms, and encoding in bfloat16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from torch import nn

from plait.config import Config
from plait.encoders.base import FEW
from plait.encoders.folding import folded
from plait.encoders.image import load_image_encoder
from plait.encoders.text import load_sentence_encoder


def unsettled(model: nn.Module) -> nn.Module:
    """With statistics and weights of its norms far from those it starts with."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2)  # type: ignore[union-attr]
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
    return model.eval()


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "tf_efficientnetv2_b0", "inception_v3"])
def test_folding_changes_no_answer(name: str) -> None:
    model = unsettled(timm.create_model(name, pretrained=False, num_classes=0))
    inputs = torch.rand(2, 3, 96, 96)
    fast = folded(model, inputs)
    assert fast is not model
    left = [module for module in fast.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(left) < sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) / 4
    with torch.inference_mode():
        wanted = model(inputs)
        torch.testing.assert_close(fast(inputs), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


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


def test_bf16_is_close_has_its_own_fingerprint_and_spares_few_rows(toy_config: Callable[..., Config]) -> None:
    exact = load_image_encoder(toy_config().image)
    half = load_image_encoder(toy_config("image.precision=bf16").image)
    pixels = np.random.default_rng(0).integers(0, 256, (3 * FEW, 3, exact.size, exact.size), np.uint8)
    wanted, got = exact.encode(pixels), half.encode(pixels)
    assert got.dtype == np.float32
    assert 0 < np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()
    np.testing.assert_allclose(half.encode(pixels[:FEW]), exact.encode(pixels[:FEW]), atol=1e-6)
    assert half.fingerprint != exact.fingerprint


def test_texts_in_bf16(toy_config: Callable[..., Config], text_folder: object) -> None:
    texts = [f"soup {number}" for number in range(3 * FEW)]
    exact, half = (
        load_sentence_encoder(str(text_folder), toy_config(f"text.precision={precision}").text)
        for precision in ("32", "bf16")
    )
    wanted, got = exact.encode(texts), half.encode(texts)
    assert got.dtype == np.float32
    assert 0 < np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()
    np.testing.assert_allclose(half.encode(texts[:FEW]), exact.encode(texts[:FEW]), atol=1e-6)
    assert half.fingerprint != exact.fingerprint
