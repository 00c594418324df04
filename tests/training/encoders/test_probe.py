"""The linear probe that a fresh classifier starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_tune_image import coloured
from torch import Tensor, nn

from plait.config import configure
from plait.training.encoders import image as module
from plait.training.encoders.image import tune_image
from plait.training.encoders.probe import fit_probe


def blobs(seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    targets = torch.arange(600) % 3
    return torch.eye(3)[targets].repeat(1, 4) + 0.3 * torch.randn(600, 12, generator=g), targets


def fitted(features: Tensor, targets: Tensor) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(12, 3)
    torch.manual_seed(1)
    fit_probe(layer, features, targets)
    return layer


def test_it_tells_classes_apart_whatever_the_scale_of_the_features() -> None:
    features, targets = blobs(0)
    unseen, answers = blobs(1)
    plain = fitted(features, targets)(unseen)
    assert (plain.argmax(1) == answers).float().mean() > 0.99
    # Standardised inside: shifted and stretched features give the same answers.
    stretch, shift = torch.linspace(1e-3, 1e3, 12), torch.linspace(-50, 50, 12)
    other = fitted(features * stretch + shift, targets)(unseen * stretch + shift)
    assert torch.allclose(plain, other, atol=0.05)


def test_a_dimension_that_never_changes_does_no_harm() -> None:
    features, targets = blobs(0)
    features[:, 5] = 7.0
    layer = fitted(features, targets)
    assert torch.isfinite(layer.weight).all()
    assert (layer(features).argmax(1) == targets).float().mean() > 0.99


@pytest.mark.parametrize("pretrained", [True, False])
def test_only_pretrained_networks_start_from_it(
    pretrained: bool, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = []
    monkeypatch.setattr(module, "fit_probe", lambda layer, features, targets, _: fits.append((features, targets)))
    name = f"local-dir:{image_folder}" if pretrained else "test_resnet"
    overrides = [f"image.model={name}", f"image.pretrained={str(pretrained).lower()}", "image.size=32"]
    config = configure(overrides=[*overrides, "image.train.epochs=1", "image.workers=0"]).image
    tune_image(coloured(40), coloured(8, 1), 4, config)
    assert [(len(features), len(targets)) for features, targets in fits] == ([(40, 40)] if pretrained else [])
