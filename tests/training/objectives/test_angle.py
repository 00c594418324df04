"""AnglE's objectives against the authors' code, complex numbers in float64, and by hand."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from plait.config import AngleConfig
from plait.training.objectives.angle import (
    angle,
    cosine,
    in_batch,
    mixture,
    mixture_of_classes,
    phase_difference,
    ranking,
    reference_likeness,
)


@pytest.fixture(scope="module")
def authors() -> Any:
    """``angle_emb.loss`` alone: importing the package would want what it pins."""
    try:
        file = importlib.metadata.distribution("angle-emb").locate_file("angle_emb/loss.py")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("angle-emb is not installed; `make install` does it")
    spec = importlib.util.spec_from_file_location("angle_emb_loss", str(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def batch(pairs: int, seed: int, dim: int = 16) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    left = torch.randn(pairs, dim, generator=g)
    return left, left + torch.randn(pairs, dim, generator=g)


def zigzag(left: Tensor, right: Tensor) -> Tensor:
    return torch.stack([left, right], 1).flatten(0, 1)


SCORES = [
    *([list(pattern) for pattern in itertools.product((0.0, 1.0), repeat=4)]),
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    [3.0, 3.0, 1.0, 1.0, 1.0, 0.0, 3.0],
    [1.0],
    [0.0],
]
OURS: dict[str, Callable[..., Tensor]] = {
    "cosine": lambda left, right, scores: cosine(left, right, scores, 20.0),
    "in_batch": lambda left, right, scores: in_batch(left, right, scores, 20.0),
    "angle": lambda left, right, scores: angle(left, right, scores, 20.0, "reference"),
}


@pytest.mark.parametrize("term", OURS)
@pytest.mark.parametrize("scores", SCORES, ids=str)
def test_each_objective_is_the_authors(term: str, scores: list[float], authors: Any) -> None:
    if term == "in_batch" and max(scores) > 1:
        pytest.skip("with scores above 1 the authors' code multiplies row numbers by them and finds false partners")
    theirs = {"cosine": "cosine_loss", "in_batch": "in_batch_negative_loss", "angle": "angle_loss"}[term]
    for seed in range(3):
        left, right = (x.requires_grad_() for x in batch(len(scores), seed))
        wanted = getattr(authors, theirs)(torch.tensor(scores).repeat_interleave(2)[:, None], zigzag(left, right), 20.0)
        found = OURS[term](left, right, torch.tensor(scores))
        assert found.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-6)
        if len(set(scores)) > 1:
            pairs = zip(*(torch.autograd.grad(loss, (left, right)) for loss in (found, wanted)), strict=True)
            assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in pairs)


def test_the_mixture_is_their_sum() -> None:
    left, right = batch(6, 0)
    scores = torch.tensor([1.0, 0, 1, 1, 0, 0])
    options = AngleConfig(cosine=0.5, in_batch=2, angle=3, cosine_scale=10, in_batch_scale=5, angle_scale=2)
    parts = 0.5 * cosine(left, right, scores, 10) + 2 * in_batch(left, right, scores, 5)
    parts = parts + 3 * angle(left, right, scores, 2)
    assert mixture(left, right, scores, options).item() == pytest.approx(parts.item(), rel=1e-6)
    other = parts + 3 * (angle(left, right, scores, 2, "paper") - angle(left, right, scores, 2))
    paper = options.model_copy(update={"form": "paper"})
    assert mixture(left, right, scores, paper).item() == pytest.approx(other.item(), rel=1e-6)
    assert mixture(left, right, scores, AngleConfig(cosine=0, in_batch=0, angle=0)).item() == 0
    alone = mixture(left, right, scores, AngleConfig(cosine=1, in_batch=0, angle=0))
    assert alone.item() == pytest.approx(cosine(left, right, scores).item())


def test_ranking_by_hand() -> None:
    # One pair above each of two others: log(1 + e^(2 (.1 - .7)) + e^(2 (.9 - .7))).
    found = ranking(torch.tensor([0.1, 0.7, 0.9]), torch.tensor([0.0, 5.0, 0.0]), 2.0)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-1.2) + math.exp(0.4)), rel=1e-6)
    # Three ranks: every pair of unlike scores once.
    found = ranking(torch.tensor([0.3, 0.2, 0.1]), torch.tensor([1.0, 2.0, 3.0]), 1.0)
    assert found.item() == pytest.approx(math.log(1 + 2 * math.exp(0.1) + math.exp(0.2)), rel=1e-6)


def test_ranking_stays_finite_for_large_scales() -> None:
    likeness = torch.tensor([1.0, -1.0, 0.5], requires_grad=True)
    loss = ranking(likeness, torch.tensor([0.0, 1.0, 0.0]), 1e4)
    assert loss.item() == pytest.approx(2e4)
    loss.backward()
    assert torch.isfinite(likeness.grad).all()  # type: ignore[arg-type]


def test_the_paper_form_is_the_phase_difference_of_complex_numbers() -> None:
    left, right = batch(50, 1)
    z, w = (torch.complex(*x.double().chunk(2, 1)) for x in (left, right))
    wanted = (z / w).angle().abs().mean(1)
    assert torch.allclose(phase_difference(left, right).double(), wanted, atol=1e-6)
    scores = (torch.arange(50) % 2).double()
    terms = [(wanted[i] - wanted[j]) * 3 for i in range(50) for j in range(50) if scores[i] > scores[j]]
    loss = torch.log1p(torch.stack(terms).exp().sum())
    assert angle(left, right, scores, 3.0, "paper").item() == pytest.approx(loss.item(), rel=1e-6)


def test_the_paper_form_is_symmetric_and_knows_opposites() -> None:
    x, y = batch(9, 2)
    assert torch.allclose(phase_difference(x, y), phase_difference(y, x), atol=1e-6)
    assert torch.allclose(phase_difference(x, x), torch.zeros(9), atol=1e-3)
    assert torch.allclose(phase_difference(x, -x), torch.full((9,), math.pi), atol=1e-3)


def test_the_reference_form_is_not_symmetric_and_takes_opposites_for_equals() -> None:
    x, y = batch(9, 3)
    # Changing sides conjugates the quotient, so the imaginary part changes sign: |r + s| becomes |r - s|.
    assert not torch.allclose(reference_likeness(x, y), reference_likeness(y, x), atol=0.05)
    # -x only turns the sign of the sum, which the absolute value takes away.
    assert torch.allclose(reference_likeness(x, -x), reference_likeness(x, x))


@pytest.mark.parametrize("form", ["reference", "paper"])
def test_gradients_are_those_of_small_steps(form: str) -> None:
    left, right = batch(6, 4, dim=8)
    scores = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.5, 0.5])
    options = AngleConfig(cosine_scale=5, in_batch_scale=5, angle_scale=2, form=form)  # type: ignore[arg-type]
    left.requires_grad_()
    classes = torch.tensor([[0, 1, 2, 2, 1, 0], [0, 2, 2, 1, 0, 1]])
    (gradient,) = torch.autograd.grad(mixture(left, right, scores, options, classes), left)
    step = torch.zeros_like(left)
    for i, j in itertools.product(range(6), range(8)):
        step.zero_()[i, j] = 1e-2
        up, down = (mixture(left.detach() + sign * step, right, scores, options, classes) for sign in (1, -1))
        assert gradient[i, j].item() == pytest.approx(((up - down) / 2e-2).item(), abs=5e-3)


def test_a_row_of_the_same_class_is_not_a_negative() -> None:
    left = torch.eye(4)[:3]
    right = left.clone()
    scores = torch.ones(3)
    classes = torch.tensor([[0, 0, 1], [0, 0, 1]])
    # Texts of the pairs 0 and 1 see their partner (cosine 1) and the two texts of pair 2 (cosine 0); those of pair 2
    # their partner and four others.
    wanted = (4 * math.log1p(2 * math.exp(-3)) + 2 * math.log1p(4 * math.exp(-3))) / 6
    assert in_batch(left, right, scores, 3.0, classes).item() == pytest.approx(wanted, rel=1e-5)
    blind = math.log1p(4 * math.exp(-3))
    assert in_batch(left, right, scores, 3.0).item() == pytest.approx(blind, rel=1e-5)
    for same_class, value in (("mask", wanted), ("negative", blind)):
        options = AngleConfig(cosine=0, in_batch=1, angle=0, in_batch_scale=3, same_class=same_class)  # type: ignore[arg-type]
        assert mixture(left, right, scores, options, classes).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("form", ["reference", "paper"])
@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
def test_zero_vectors_and_equal_scores_are_finite(form: str, scores: list[float]) -> None:
    left, right = batch(3, 5)
    left[0], right[1] = 0, 0
    left.requires_grad_()
    loss = mixture(left, right, torch.tensor(scores), AngleConfig(form=form))  # type: ignore[arg-type]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(left.grad).all()  # type: ignore[arg-type]
    assert not left.grad[0].any()  # type: ignore[index]
    assert phase_difference(left, right)[:2].tolist() == pytest.approx([math.pi / 2] * 2)


def test_a_batch_of_one_pair_has_nothing_to_rank() -> None:
    left, right = batch(1, 6)
    for form in ("reference", "paper"):
        assert mixture(left, right, torch.ones(1), AngleConfig(form=form)).item() == 0  # type: ignore[arg-type]


def test_odd_dimensions_and_other_mistakes() -> None:
    left, right = batch(2, 7, dim=5)
    scores = torch.tensor([0.0, 1.0])
    with pytest.raises(
        ValueError, match="vectors of 5 dimensions have no halves; the angle objective needs an even number"
    ):
        angle(left, right, scores)
    with pytest.raises(ValueError, match="unknown form 'papier' of the angle objective; use 'reference' or 'paper'"):
        angle(*batch(2, 7), scores, form="papier")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"pairs do not match: left \(2, 5\), right \(2, 5\), scores \(3,\)"):
        cosine(left, right, torch.ones(3))


def test_where_the_cosine_is_saturated_the_angle_still_has_a_gradient() -> None:
    """The paper's figure 1: near the top of the cosine its slope vanishes, that of the angle does not."""
    turn = torch.tensor([1e-3], requires_grad=True)
    z = torch.stack([turn.cos(), turn.sin()], 1)
    w = torch.tensor([[1.0, 0.0]])
    (flat,) = torch.autograd.grad((z * w).sum(), turn, retain_graph=True)
    (alive,) = torch.autograd.grad(phase_difference(z, w).sum(), turn)
    assert abs(flat.item()) < 2e-3
    assert alive.item() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("term", [*OURS, "paper", "mixture", "classes"])
def test_objectives_are_computed_in_32_bits_under_autocast(term: str, half: bool) -> None:
    left, right = (x.bfloat16() if half else x for x in batch(12, seed=3, dim=64))
    scores = (torch.arange(12) % 3 != 0).float()

    def loss(left: Tensor, right: Tensor) -> Tensor:
        if term == "paper":
            return angle(left, right, scores, 20.0, "paper")
        if term == "mixture":
            return mixture(left, right, scores, AngleConfig())
        if term == "classes":
            return mixture_of_classes(torch.cat([left, right]), torch.arange(24) % 5, AngleConfig())
        return OURS[term](left, right, scores)

    wanted = loss(left.float(), right.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(left, right)
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)
