"""The terms of HUSE against plain Python, row by row and pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from plait.fusion.huse_terms import class_distances, class_level, modal_gap, semantic_graph

Rows = dict[str, Tensor]
# Row 0 has both modalities, row 1 only its text, row 2 only its image.
PRESENT = {"image": torch.tensor([True, False, True]), "text": torch.tensor([True, True, False])}
BOTH = {s: torch.ones(3, dtype=torch.bool) for s in PRESENT}
TARGETS = torch.tensor([0, 1, 1])
A = torch.tensor([[0.0, 0.4], [0.4, 0.0]])


def drawn(dim: int, rows: int = 3, seed: int = 0) -> Rows:
    g = torch.Generator().manual_seed(seed)
    return {s: torch.randn(rows, dim, generator=g) for s in ("image", "text")}


def flat(*angles: float) -> Tensor:
    """Vectors of length 1 at these angles, in degrees."""
    radians = torch.tensor(angles) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()], 1)


def distance(u: Tensor, v: Tensor) -> float:
    a, b = u.double().numpy(), v.double().numpy()
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


# Class level


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_level_by_hand(smoothing: float) -> None:
    logits = drawn(4)
    found = class_level(logits, PRESENT, TARGETS, smoothing)
    for i, modalities in enumerate((("image", "text"), ("text",), ("image",))):
        losses = []
        for s in modalities:
            x = logits[s][i].double().numpy()
            log_p = x - math.log(np.exp(x).sum())
            losses.append(-(1 - smoothing) * log_p[TARGETS[i]] - smoothing * log_p.mean())
        assert found[i].item() == pytest.approx(sum(losses) / len(losses), abs=1e-6)


def test_class_level_of_a_row_with_nothing_is_zero() -> None:
    nothing = {s: torch.tensor([False, True, True]) for s in PRESENT}
    found = class_level(drawn(4), nothing, TARGETS)
    assert found[0] == 0
    assert (found[1:] > 0).all()


# Semantic graph


def graph_by_hand(embeddings: Rows, present: Rows, targets: Tensor, distances: Tensor, margin: float) -> list[float]:
    """Every embedding against every other, in two loops."""
    pooled = [(i, embeddings[s][i]) for s in ("image", "text") for i in range(len(targets)) if present[s][i]]
    of_row: dict[int, list[float]] = {i: [] for i in range(len(targets))}
    for m, (i, u) in enumerate(pooled):
        total = 0.0
        for n, (j, v) in enumerate(pooled):
            wanted, found = distances[targets[i], targets[j]].item(), distance(u, v)
            if n != m and not (wanted >= margin and found >= margin):
                total += (found - wanted) ** 2
        of_row[i].append(total / max(1, len(pooled) - 1))
    return [sum(losses) / len(losses) if losses else 0.0 for losses in of_row.values()]


def test_graph_of_three_known_angles() -> None:
    """Images only, at 0, 60 and 90 degrees: distances 0.5, 1 and 1 - cos 30."""
    embeddings = {"image": flat(0, 60, 90), "text": torch.zeros(3, 2)}
    present = {"image": BOTH["image"], "text": torch.zeros(3, dtype=torch.bool)}
    near = 1 - math.sqrt(3) / 2
    first, second, third = (0.5 - 0.4) ** 2, (1 - 0.4) ** 2, near**2
    expected = [(first + second) / 2, (first + third) / 2, (second + third) / 2]
    assert semantic_graph(embeddings, present, TARGETS, A, 0.7).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("margin", [0.3, 0.7, 1.1])
@pytest.mark.parametrize("present", [PRESENT, BOTH], ids=["missing", "both"])
def test_graph_by_hand(margin: float, present: Rows) -> None:
    embeddings = {s: 3 * x for s, x in drawn(5).items()}  # of any length
    found = semantic_graph(embeddings, present, TARGETS, A, margin)
    assert found.tolist() == pytest.approx(graph_by_hand(embeddings, present, TARGETS, A, margin), abs=1e-6)


def test_mean_over_full_rows_is_the_sum_over_pairs_by_their_number() -> None:
    g = torch.Generator().manual_seed(3)
    embeddings, targets = drawn(4, rows=6, seed=3), torch.arange(6) % 3
    present = {s: torch.ones(6, dtype=torch.bool) for s in embeddings}
    distances = class_distances(torch.randn(3, 8, generator=g))
    pooled, classes = torch.cat([embeddings["image"], embeddings["text"]]), targets.repeat(2)
    total = 0.0
    for m in range(12):
        for n in range(12):
            wanted, found = distances[classes[m], classes[n]].item(), distance(pooled[m], pooled[n])
            if m != n and (wanted < 0.7 or found < 0.7):
                total += (found - wanted) ** 2
    loss = semantic_graph(embeddings, present, targets, distances, 0.7).mean().item()
    assert loss == pytest.approx(total / (12 * 11), abs=1e-6)


@pytest.mark.parametrize(
    ("wanted", "degrees", "counts"),
    [
        (0.9, 30, True),  # classes far apart, embeddings near: pushed away
        (0.2, 120, True),  # classes near, embeddings far: pulled together
        (0.2, 30, True),
        (0.9, 120, False),  # far, and far already: left alone
        (0.7, 120, False),  # at the margin is far
    ],
)
def test_margin(wanted: float, degrees: float, counts: bool) -> None:
    image = flat(0, degrees).requires_grad_()
    present = {"image": torch.ones(2, dtype=torch.bool), "text": torch.zeros(2, dtype=torch.bool)}
    distances = torch.tensor([[0.0, wanted], [wanted, 0.0]])
    found = semantic_graph({"image": image, "text": flat(0, 0)}, present, torch.tensor([0, 1]), distances, 0.7)
    gap = 1 - math.cos(math.radians(degrees)) - wanted
    assert found.tolist() == pytest.approx([gap**2 * counts] * 2, abs=1e-6)
    found.sum().backward()
    assert image.grad is not None
    assert bool(image.grad.any()) == counts


@pytest.mark.parametrize("modality", ["image", "text"])
def test_missing_modalities_have_no_say(modality: str) -> None:
    embeddings = drawn(5)
    changed = embeddings | {modality: torch.where(PRESENT[modality][:, None], embeddings[modality], 7.0)}
    assert not torch.equal(changed[modality], embeddings[modality])
    args = (PRESENT, TARGETS, A, 0.7)
    assert torch.equal(semantic_graph(embeddings, *args), semantic_graph(changed, *args))
    assert torch.equal(modal_gap(embeddings, PRESENT), modal_gap(changed, PRESENT))
    assert torch.equal(class_level(embeddings, PRESENT, TARGETS), class_level(changed, PRESENT, TARGETS))


@pytest.mark.parametrize("half", [False, True])
def test_terms_in_mixed_precision(half: bool) -> None:
    embeddings = {s: x.bfloat16() if half else x for s, x in drawn(64).items()}
    exact = {s: x.float() for s, x in embeddings.items()}

    def terms(embeddings: Rows) -> list[Tensor]:
        return [
            semantic_graph(embeddings, BOTH, TARGETS, A, 0.7),
            modal_gap(embeddings, BOTH),
            class_level(embeddings, BOTH, TARGETS, 0.1),
            class_distances(embeddings["text"]),
        ]

    wanted = terms(exact)
    with torch.autocast("cpu", torch.bfloat16):
        found = terms(embeddings)
    assert all(one.dtype == torch.float32 for one in found)
    assert [torch.equal(one, other) for one, other in zip(found, wanted, strict=True)] == [True] * 4


# Cross-modal gap


def test_gap_by_hand() -> None:
    embeddings = {"image": 2 * flat(0, 0, 10), "text": 5 * flat(60, 180, 10)}
    assert modal_gap(embeddings, BOTH).tolist() == pytest.approx([0.5, 2, 0], abs=1e-6)
    assert modal_gap(embeddings, PRESENT).tolist() == pytest.approx([0.5, 0, 0], abs=1e-6)


# Class distances


def test_class_distances() -> None:
    vectors = torch.tensor([[1.0, 0.0], [3.0, 3.0], [-2.0, 0.0], [0.0, 0.0]])
    half = 1 / math.sqrt(2)
    expected = [[0, 1 - half, 2, 1], [1 - half, 0, 1 + half, 1], [2, 1 + half, 0, 1], [1, 1, 1, 0]]
    found = class_distances(vectors)
    torch.testing.assert_close(found, torch.tensor(expected))
    assert (found.diagonal() == 0).all()
    assert torch.equal(class_distances(torch.eye(5)), 1 - torch.eye(5))


# Gradients


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("targets", [[0, 0, 0], [0, 1, 1]])
@pytest.mark.parametrize("case", ["drawn", "zero", "equal", "missing"])
def test_gradients_are_finite(rows: int, targets: list[int], case: str) -> None:
    values = drawn(4, rows)
    if case == "zero":
        values = {s: torch.where(torch.arange(rows)[:, None] == 0, 0.0, x) for s, x in values.items()}
    if case == "equal":
        values = {s: torch.ones(rows, 4) for s in values}
    embeddings = {s: x.clone().requires_grad_() for s, x in values.items()}
    present = {s: torch.full((rows,), case != "missing") for s in values}
    classes = torch.tensor(targets)[:rows]
    losses = (
        semantic_graph(embeddings, present, classes, A, 0.7)
        + modal_gap(embeddings, present)
        + class_level(embeddings, present, classes)
    )
    assert losses.shape == (rows,)
    assert losses.isfinite().all()
    assert bool(losses.any()) == (case != "missing")
    losses.sum().backward()
    for x in embeddings.values():
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert x.grad.abs().max() < 10


def test_a_batch_of_one_modality_has_no_pairs() -> None:
    present = {"image": torch.tensor([True]), "text": torch.tensor([False])}
    assert semantic_graph(drawn(4, 1), present, torch.tensor([1]), A, 0.7).tolist() == [0]
