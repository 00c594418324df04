"""Maps smaller than a depthwise kernel: wider ones give the same answers and gradients."""

import copy

import pytest
import torch
from torch import nn

from plait.training.encoders.depthwise import widen_small_maps


def depthwise(side: int = 5, **options) -> nn.Conv2d:
    given = {"padding": side // 2, "groups": 6} | options
    return nn.Conv2d(6, 6, side, **given).double()


@pytest.mark.parametrize("shape", [(4, 4), (1, 1), (3, 7), (7, 2), (5, 5), (9, 8)])
@pytest.mark.parametrize("side", [3, 5])
def test_same_answers_and_gradients(shape, side):
    torch.manual_seed(0)
    plain = depthwise(side)
    widened = copy.deepcopy(plain)
    assert widen_small_maps(widened) == 1
    wanted, got = (torch.randn(2, 6, *shape, dtype=torch.float64).requires_grad_() for _ in range(2))
    got.data.copy_(wanted.data)
    slope = torch.randn(2, 6, *shape, dtype=torch.float64)
    answers = []
    for conv, pixels in ((plain, wanted), (widened, got)):
        answers.append(conv(pixels))
        answers[-1].backward(slope)
    torch.testing.assert_close(answers[1], answers[0])
    torch.testing.assert_close(got.grad, wanted.grad)
    torch.testing.assert_close(widened.weight.grad, plain.weight.grad)
    torch.testing.assert_close(widened.bias.grad, plain.bias.grad)


def test_small_maps_reach_the_routine_at_the_kernels_side(monkeypatch):
    conv = depthwise()
    widen_small_maps(conv)
    seen = []
    computed = conv._conv_forward
    monkeypatch.setattr(conv, "_conv_forward", lambda x, *rest: seen.append(x.shape[-2:]) or computed(x, *rest))
    conv(torch.zeros(1, 6, 4, 9, dtype=torch.float64))
    assert seen == [(5, 9)]


@pytest.mark.parametrize(
    "other",
    [
        {"stride": 2},
        {"padding": 0},
        {"dilation": 2, "padding": 4},
        {"groups": 1},
        {"groups": 2},
        {"padding_mode": "circular"},
    ],
    ids=str,
)
def test_other_convolutions_stay_as_they_are(other):
    model = nn.Sequential(depthwise(**other))
    assert widen_small_maps(model) == 0
    assert type(model[0]) is nn.Conv2d


def test_weights_keep_their_names_and_copies_are_their_own():
    model = nn.Sequential(depthwise())
    names = list(model.state_dict())
    widen_small_maps(model)
    assert list(model.state_dict()) == names
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.zero_()
        other[0].bias.zero_()
    pixels = torch.randn(1, 6, 4, 4, dtype=torch.float64)
    assert other(pixels).abs().max() == 0
    assert model(pixels).abs().max() > 0
