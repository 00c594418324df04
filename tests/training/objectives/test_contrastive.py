"""The contrastive objectives, against formulas written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from plait.training.objectives.contrastive import info_nce, same, sigmoid

EYE = torch.eye(6, dtype=torch.bool)
ALL = torch.ones(6, 6, dtype=torch.bool)
SCALE = torch.tensor(7.0)


@pytest.fixture
def sides() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    image, text = (F.normalize(torch.randn(6, 4, generator=draw), dim=1) for _ in range(2))
    return image, text


def test_info_nce_is_the_mean_of_two_cross_entropies(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits = SCALE * sides[0] @ sides[1].T
    rows = torch.arange(6)
    wanted = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
    torch.testing.assert_close(info_nce(*sides, EYE, ALL, SCALE).mean(), wanted)


def test_rows_of_one_class_are_no_negatives(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Taking a pair out of account is the same as its similarity being minus infinity."""
    alike = same([torch.tensor([0, 0, 1, 2, 3, 4])])
    logits = (SCALE * sides[0] @ sides[1].T).masked_fill(alike & ~EYE, -torch.inf)
    rows = torch.arange(6)
    wanted = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
    torch.testing.assert_close(info_nce(*sides, EYE, ~alike, SCALE).mean(), wanted)


def test_several_positives_count_by_their_mean(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    alike = same([torch.tensor([0, 0, 1, 2, 3, 3])])
    logits = SCALE * sides[0] @ sides[1].T
    first = -(F.log_softmax(logits, 1)[0, :2].mean() + F.log_softmax(logits.T, 1)[0, :2].mean()) / 2
    torch.testing.assert_close(info_nce(*sides, alike, ALL, SCALE)[0], first)


def test_sigmoid_is_a_logistic_regression_on_every_pair(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    bias = torch.tensor(-2.0)
    cosines = sides[0] @ sides[1].T
    wanted = sum(
        math.log1p(math.exp(-(1 if i == j else -1) * (7.0 * float(cosines[i, j]) - 2.0)))
        for i in range(6)
        for j in range(6)
    )
    found = sigmoid(*sides, EYE, ALL, SCALE, bias)
    assert float(found.sum()) == pytest.approx(wanted, rel=1e-5)


def test_hard_negatives_weigh_more(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Of one row: the weights are exp(hard * cosine), of mean 1 among its negatives."""
    cosines, hard = (sides[0] @ sides[1].T)[0], 3.0
    weights = torch.exp(hard * cosines[1:])
    weights = weights / weights.mean()
    powers = torch.exp(SCALE * cosines)
    wanted = -torch.log(powers[0] / (powers[0] + (weights * powers[1:]).sum()))
    one_way = info_nce(sides[0], sides[1], EYE, ALL, SCALE, hard)
    other = info_nce(sides[1], sides[0], EYE, ALL, SCALE, hard)
    torch.testing.assert_close(one_way, other)
    back = torch.exp(SCALE * sides[0] @ sides[1][0])
    shares = torch.exp(hard * (sides[0] @ sides[1][0])[1:])
    both = -torch.log(back[0] / (back[0] + (shares / shares.mean() * back[1:]).sum()))
    torch.testing.assert_close(one_way[0], (wanted + both) / 2)


def test_no_negative_is_no_error(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    found = info_nce(*sides, ALL, ALL, SCALE, hard=2.0)
    assert torch.isfinite(found).all()


def test_same() -> None:
    found = same([torch.tensor([1, 1, -1, -1]), torch.tensor([5, 6, 6, 7])])
    assert found.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
