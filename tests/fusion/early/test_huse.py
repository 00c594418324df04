from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.errors import ConfigError
from plait.fusion.early.huse import Head as HuseHead
from plait.fusion.huse_terms import modal_gap
from plait.fusion.modality import Shape
from plait.training.heads.loss import row_losses

LOG_PRIOR = torch.tensor([0.5, 0.3, 0.2]).log()
Rows = dict[str, Tensor]


def shape(image: tuple[int, ...] = (8, 5), text: tuple[int, ...] = (5,), dropout: float = 0.0) -> Shape:
    return Shape.of({"image": 4, "text": 6}, 3, towers={"image": image, "text": text}, tower_dropout=dropout)


def made(seed: int = 0, dropout: float = 0.0) -> HuseHead:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = HuseHead(shape(dropout=dropout))
    head.prepare(*drawn(50, 1), LOG_PRIOR)
    return head.eval()


def drawn(rows: int, seed: int = 0) -> tuple[Rows, Rows]:
    g = torch.Generator().manual_seed(seed)
    features = {s: 3 + 2 * torch.randn(rows, d, generator=g) for s, d in (("image", 4), ("text", 6))}
    return features, {s: torch.ones(rows, dtype=torch.bool) for s in features}


def test_formula() -> None:
    """Standardised, two layers for the image and one for the text, ReLU between layers only; then one classifier."""
    head, (features, present) = made(), drawn(6)
    present = {"image": torch.tensor([1, 1, 0, 1, 0, 0]).bool(), "text": torch.tensor([1, 0, 1, 1, 1, 0]).bool()}
    w = {name: value.double().numpy() for name, value in head.state_dict().items()}
    training, _ = drawn(50, 1)
    embeddings, found = head.embed(features, present), head(features, present)
    for i in range(6):
        probabilities = []
        for s, layers in (("image", (1, 4)), ("text", (1,))):
            if not present[s][i]:
                assert not embeddings[s][i].any()
                continue
            known = training[s].double().numpy()
            x = (features[s][i].double().numpy() - known.mean(0)) / known.std(0, ddof=1)
            for n in layers:
                x = w[f"towers.{s}.{n}.weight"] @ (x if n == 1 else np.maximum(0, x)) + w[f"towers.{s}.{n}.bias"]
            x = x / np.linalg.norm(x)
            np.testing.assert_allclose(embeddings[s][i].detach().numpy(), x, atol=1e-5)
            logits = w["classifier.weight"] @ (w["scale"] * x) + w["classifier.bias"]
            probabilities.append(np.exp(logits) / np.exp(logits).sum())
        expected = np.log(np.mean(probabilities, 0)) if probabilities else LOG_PRIOR.numpy()
        np.testing.assert_allclose(found[i].detach().numpy(), expected, atol=1e-5)


def test_embeddings_have_length_one() -> None:
    embeddings = made().embed(*drawn(30))
    assert set(embeddings) == {"image", "text"}
    for x in embeddings.values():
        assert x.shape == (30, 5)
        torch.testing.assert_close(x.norm(dim=1), torch.ones(30))


def test_the_classifier_is_shared() -> None:
    """The same point of the space gets the same answer from either modality, and there is one classifier only."""
    head = made()
    point = F.normalize(torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    answers = head.classify({"image": point, "text": point.clone()})
    assert torch.equal(answers["image"], answers["text"])
    expected = 10 * point @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(answers["image"], expected)
    names = {name for name, _ in head.named_parameters() if not name.startswith("towers")}
    assert names == {"scale", "classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("modality", ["image", "text"])
def test_features_of_a_missing_modality_are_ignored(modality: str) -> None:
    head, (features, present) = made(), drawn(6)
    present[modality] = torch.tensor([1, 0, 1, 0, 1, 0]).bool()
    before = head(features, present)
    after = head(
        features | {modality: features[modality] * torch.linspace(-1, 1, features[modality].shape[1])}, present
    )
    assert torch.equal(after[1::2], before[1::2])
    assert (after[0::2] != before[0::2]).any(1).all()


def test_dropout_in_training_only() -> None:
    head, (features, present) = made(dropout=0.5), drawn(50)
    whole = head.embed(features, present)
    assert torch.equal(head.embed(features, present)["image"], whole["image"])
    torch.manual_seed(0)
    dropped = head.train().embed(features, present)
    assert (dropped["image"] != whole["image"]).any(1).float().mean() > 0.9
    assert torch.equal(dropped["text"], whole["text"])  # its one layer is the last


def test_towers_must_end_in_one_space() -> None:
    with pytest.raises(ConfigError, match=r"^head\.huse\.image ends in 5 units and head\.huse\.text in 6; [^\n]+$"):
        HuseHead(shape((8, 5), (6,)))


def test_state_round_trip() -> None:
    head, rows = made(), drawn(7)
    head.class_distance = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    again = HuseHead(shape()).eval()
    assert torch.equal(again.class_distance, 1 - torch.eye(3))
    assert not torch.equal(again(*rows), head(*rows))
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(*rows), head(*rows))
    assert torch.equal(again.class_distance, head.class_distance)


def agreeing(rows: int, seed: int, classes: int = 8) -> tuple[Rows, Rows, Tensor]:
    """Both modalities tell the class, each in its own directions, with noise."""
    means = torch.Generator().manual_seed(99)
    centres = {s: torch.randn(classes, 16, generator=means) for s in ("image", "text")}
    g = torch.Generator().manual_seed(seed)
    targets = torch.arange(rows) % classes
    features = {s: x[targets] + 0.8 * torch.randn(rows, 16, generator=g) for s, x in centres.items()}
    return features, {s: torch.ones(rows, dtype=torch.bool) for s in features}, targets


@pytest.mark.parametrize("pull", [0.0, 1.0])
def test_training_learns_classes_and_closes_the_gap(pull: float) -> None:
    """Image and text of a row come to the same place, and closer where the gap has weight."""
    features, present, targets = agreeing(400, 0)
    held, there, answers = agreeing(400, 1)
    torch.manual_seed(0)
    sizes = Shape.of({"image": 16, "text": 16}, 8, towers={"image": (32, 16), "text": (16,)}, tower_dropout=0.1)
    head = HuseHead(sizes)
    head.prepare(features, present, torch.full((8,), math.log(1 / 8)))
    head.graph = head.gap = pull
    before = modal_gap(head.eval().embed(held, there), there).mean().item()
    optimiser = torch.optim.AdamW(head.train().parameters(), lr=3e-3)
    for _ in range(150):
        _, losses = row_losses(head, features, present, targets, 0.1)
        optimiser.zero_grad()
        losses.mean().backward()
        optimiser.step()
    right = (head.eval()(held, there).argmax(1) == answers).float().mean().item()
    after = modal_gap(head.embed(held, there), there).mean().item()
    assert right > 0.9
    assert before > 0.8
    assert after < (0.2 if pull else before - 0.1)
    for modality in ("image", "text"):  # either alone, by the same classifier
        alone = there | {modality: torch.zeros(400, dtype=torch.bool)}
        assert (head(held, alone).argmax(1) == answers).float().mean() > 0.8
