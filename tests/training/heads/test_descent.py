"""How heads are trained: the optimiser against PyTorch's, the learning rate, the best weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from plait.config import TrainConfig
from plait.training.heads.descent import AdamW, Best, Schedule


def test_the_optimiser_is_pytorchs() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))
    theirs = copy.deepcopy(ours)
    optimiser, reference = AdamW(ours.parameters(), decay=0.1), torch.optim.AdamW(theirs.parameters(), weight_decay=0.1)
    inputs, targets = torch.randn(20, 5), torch.randint(0, 3, (20,))
    for step in range(30):
        rate = 1e-2 / (step + 1)
        optimiser.step(nn.functional.cross_entropy(ours(inputs), targets), rate)
        reference.param_groups[0]["lr"] = rate
        reference.zero_grad()
        nn.functional.cross_entropy(theirs(inputs), targets).backward()
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert optimiser.steps == 30


def rates(schedule: Schedule) -> list[float]:
    """The rate of each epoch's last step."""
    return [schedule.rate(epoch * schedule.steps - 1) for epoch in range(1, schedule.epochs + 1)]


def test_the_rate_falls_once_the_loss_falls_but_little() -> None:
    """By 5 % of the best, in an epoch of 40 steps; four epochs later it is all but 0."""
    schedule = Schedule(400, TrainConfig(batch=10, lr=2.0))
    for epoch, loss in enumerate([5.0, 4.0, 3.0, 2.9], 1):
        assert schedule.epochs == 100
        assert schedule.rate(epoch * 40 - 1) == 2.0
        schedule.see(epoch, loss)
    assert schedule.epochs == 8
    assert rates(schedule)[4:] == pytest.approx([1.5125, 1.0125, 0.5125, 0.0125])
    for epoch, loss in enumerate([1.0, 0.5, 0.1, 0.1], 5):  # on its way down it is not stopped
        schedule.see(epoch, loss)
    assert schedule.epochs == 8


def test_small_gains_add_up() -> None:
    schedule = Schedule(400, TrainConfig(batch=10, patience=2))
    for epoch, loss in enumerate([1.0, 0.97, 0.94, 0.91, 0.88, 0.88, 0.88], 1):
        assert schedule.epochs == 100
        schedule.see(epoch, loss)
    assert schedule.epochs == 7 + 4


def test_short_epochs_are_waited_for_by_their_steps() -> None:
    """Of 8 steps four make one of 32, and thirteen the 100 of the fall."""
    schedule = Schedule(240, TrainConfig())
    assert (schedule.batch, schedule.steps) == (32, 8)
    for epoch in range(1, 6):
        assert schedule.epochs == 100
        schedule.see(epoch, 1.0)
    assert schedule.epochs == 5 + 13


@pytest.mark.parametrize("epochs", [1, 2, 5, 20])
def test_no_epoch_more_than_there_are(epochs: int) -> None:
    """However well it goes, the rate falls in time, in half of them at most."""
    schedule = Schedule(400, TrainConfig(batch=10, lr=1.0, epochs=epochs))
    for epoch in range(1, epochs + 1):
        schedule.see(epoch, 0.5**epoch)
    assert schedule.epochs == epochs
    assert schedule.rate(epochs * 40 - 1) < 0.03
    if epochs > 1:
        assert schedule.rate(epochs * 20 - 1) == 1.0


def test_the_rate_rises_first() -> None:
    schedule = Schedule(400, TrainConfig(batch=10, lr=1.0))
    assert [schedule.rate(step) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]


def test_the_best_weights_come_back() -> None:
    weights = torch.zeros(2)
    best = Best(weights)
    for value, loss in enumerate([5.0, 3.0, 4.0, 3.0, float("nan")]):
        weights.fill_(value)
        best.see(loss)
    assert best.loss == 3.0
    best.restore()
    assert weights.tolist() == [1.0, 1.0]
