"""Dropout, against what PyTorch's does."""

from __future__ import annotations

import pytest
import torch

from plait.fusion.dropout import Dropout

SHAPE = (400, 503)  # not a multiple of eight


@pytest.mark.parametrize("p", [0.0, 0.15, 0.5, 0.9, 1.0])
def test_it_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    found = Dropout(p)(torch.full(SHAPE, 3.0))
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=0.006)
    kept = found[found != 0]
    assert len(set(kept.tolist())) <= 1
    if p < 1:
        assert kept[0].item() == pytest.approx(3 / (1 - p), rel=0.02)
        assert found.mean().item() == pytest.approx(3, rel=0.03)
    # No row or column is drawn as another is.
    assert (found == 0).float().mean(0).sub(p).abs().max() < 0.15
    assert (found == 0).float().mean(1).sub(p).abs().max() < 0.15


def test_each_call_draws_anew_and_a_seed_repeats() -> None:
    drop = Dropout(0.5)
    torch.manual_seed(1)
    first, second = drop(torch.ones(SHAPE)), drop(torch.ones(SHAPE))
    torch.manual_seed(1)
    assert not torch.equal(first, second)
    assert torch.equal(first, drop(torch.ones(SHAPE)))


def test_gradients_go_where_values_went() -> None:
    x = torch.randn(SHAPE, requires_grad=True)
    found = Dropout(0.25)(x)
    found.sum().backward()
    assert torch.allclose(x.grad * x, found)  # type: ignore[operator]


def test_nothing_is_dropped_in_use() -> None:
    x = torch.randn(SHAPE)
    assert Dropout(0.5).eval()(x) is x
