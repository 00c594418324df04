"""The loss of a row: cross-entropy for every head, and the weighted sum of three terms for HUSE."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.early import EARLY
from plait.fusion.early.huse import Head as HuseHead
from plait.fusion.huse_terms import class_distances, class_level, modal_gap, semantic_graph
from plait.fusion.modality import Shape
from plait.fusion.spec import early_head
from plait.training.heads.descent import Copies
from plait.training.heads.loss import row_losses

SHAPE = Shape.of({"image": 4, "text": 6}, 3, dropout=0.0, towers={"image": (7, 5), "text": (5,)})
TARGETS = torch.tensor([0, 1, 2, 0, 1])
# Row 3 has its text only, row 4 nothing.
PRESENT = {"image": torch.tensor([1, 1, 1, 0, 0]).bool(), "text": torch.tensor([1, 1, 1, 1, 0]).bool()}


def features() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    return {"image": torch.randn(5, 4, generator=g), "text": torch.randn(5, 6, generator=g)}


def made(kind: str) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = early_head(kind, SHAPE)
    head.prepare(features(), PRESENT, torch.tensor([0.5, 0.3, 0.2]).log())
    return head


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["mlp", "towers"])
def test_cross_entropy(kind: str, smoothing: float) -> None:
    head = made(kind)
    logits, losses = row_losses(head, features(), PRESENT, TARGETS, smoothing)
    assert torch.equal(logits, head(features(), PRESENT))
    log_p = logits.log_softmax(1)
    expected = -(1 - smoothing) * log_p[torch.arange(5), TARGETS] - smoothing * log_p.mean(1)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize(("graph", "gap"), [(0.0, 0.0), (2.0, 0.0), (0.0, 3.0), (0.5, 0.25)])
def test_huse_weighs_three_terms(graph: float, gap: float) -> None:
    head = made("huse")
    assert isinstance(head, HuseHead)
    head.graph, head.gap, head.margin = graph, gap, 0.9
    head.class_distance = class_distances(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    logits, losses = row_losses(head, features(), PRESENT, TARGETS, 0.1)
    torch.testing.assert_close(logits, head(features(), PRESENT))
    embeddings = head.embed(features(), PRESENT)
    terms = (
        class_level({s: head.classifier(head.scale * x) for s, x in embeddings.items()}, PRESENT, TARGETS, 0.1),
        semantic_graph(embeddings, PRESENT, TARGETS, head.class_distance, 0.9),
        modal_gap(embeddings, PRESENT),
    )
    assert all(term[:3].all() for term in terms)
    assert [term[4].item() for term in terms] == [0, 0, 0]
    # Four of five rows have a modality, three have both.
    torch.testing.assert_close(losses, 5 / 4 * (terms[0] + graph * terms[1]) + gap * 5 / 3 * terms[2])


def two_by_two(head: HuseHead) -> dict[str, Tensor]:
    """Features (4, 2) that are their own embeddings: images at 0, 90, 0, 0 and texts at 60, 90, 180, 0 degrees."""
    head.embed = lambda features, present: {s: x * present[s][:, None] for s, x in features.items()}  # type: ignore[method-assign,assignment]
    with torch.no_grad():
        head.scale.fill_(1.0)
        head.classifier.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        head.classifier.bias.zero_()
    half = 3**0.5 / 2
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    return {"image": image, "text": torch.tensor([[0.5, half], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])}


@pytest.mark.parametrize("hidden", [[], [2], [2, 3]])
def test_the_gap_is_a_mean_over_rows_with_both_modalities(hidden: list[int]) -> None:
    """Gaps by hand: 1 - cos 60 = 0.5, 0, 2 and 0."""
    head = HuseHead(Shape.of({"image": 2, "text": 2}, 2, dropout=0.0, towers={"image": (2,), "text": (2,)}))
    features = two_by_two(head)
    there = torch.ones(4, dtype=torch.bool)
    text = there.clone()
    text[hidden] = False
    targets, found = torch.zeros(4, dtype=torch.int64), {}
    for gap in (0.0, 1.0):
        head.graph, head.gap = 0.0, gap
        found[gap] = row_losses(head, features, {"image": there, "text": text}, targets, 0.0)[1].mean().item()
    expected = {0: 2.5 / 4, 1: 0.5 / 3, 2: 0.5 / 2}[len(hidden)]
    assert found[1.0] - found[0.0] == pytest.approx(expected, abs=1e-6)


def test_rows_without_anything_dilute_no_term() -> None:
    head = made("huse")
    assert isinstance(head, HuseHead)
    head.graph, head.gap, head.margin = 0.5, 0.25, 0.9
    head.class_distance = class_distances(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    whole = row_losses(head, features(), PRESENT, TARGETS, 0.1)[1].mean()
    first = {s: x[:4] for s, x in features().items()}, {s: x[:4] for s, x in PRESENT.items()}
    torch.testing.assert_close(row_losses(head, *first, TARGETS[:4], 0.1)[1].mean(), whole)


def test_no_row_with_both_modalities_is_a_gap_of_zero() -> None:
    head = made("huse")
    present = {"image": ~PRESENT["text"], "text": PRESENT["text"]}
    assert row_losses(head, features(), present, TARGETS, 0.1)[1].isfinite().all()


@pytest.mark.parametrize("kind", ["mlp", "towers", "huse"])
def test_losses_are_computed_in_32_bits_under_autocast(kind: str) -> None:
    head = made(kind)
    plain = row_losses(head, features(), PRESENT, TARGETS, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        logits, losses = row_losses(head, features(), PRESENT, TARGETS, 0.1)
    assert torch.equal(logits, plain[0])
    assert torch.equal(losses, plain[1])
    half = {s: x.bfloat16() for s, x in features().items()}
    taken = {s: x.float() for s, x in half.items()}
    assert torch.equal(
        row_losses(head, half, PRESENT, TARGETS, 0.1)[1], row_losses(head, taken, PRESENT, TARGETS, 0.1)[1]
    )


def test_the_margin_of_the_head_counts() -> None:
    head = made("huse")
    assert isinstance(head, HuseHead)
    found = []
    for margin in (0.01, 0.7, 5.0):
        head.margin = margin
        found.append(row_losses(head, features(), PRESENT, TARGETS, 0.1)[1].sum().item())
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("kind", EARLY)
def test_every_parameter_learns(kind: str) -> None:
    head = made(kind)
    present = PRESENT | {"text": torch.tensor([1, 1, 0, 1, 0]).bool()}  # a row of each kind
    row_losses(head, features(), present, TARGETS, 0.1)[1].sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_copies_answer_with_the_losses_of_their_heads() -> None:
    heads = [made("mlp"), made("towers"), made("huse")]
    losses = Copies(heads)(features(), PRESENT, TARGETS, 0.1)
    assert losses.shape == (3, 5)
    for head, found in zip(heads, losses, strict=True):
        assert torch.equal(found, row_losses(head, features(), PRESENT, TARGETS, 0.1)[1])
    assert torch.allclose(
        losses[0], F.cross_entropy(heads[0](features(), PRESENT), TARGETS, reduction="none", label_smoothing=0.1)
    )
