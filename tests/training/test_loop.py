"""The training loop that heads and encoders share: what it says while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from plait.training import loop
from plait.training.loop import KeepBest, Loop, run_trainer


class Line(lightning.LightningModule):
    """Fits y = 2x."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        return (self.layer(x) - y).square().mean()

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(options: Loop) -> KeepBest:
    x = torch.arange(8.0)[:, None] / 8
    rows = DataLoader(TensorDataset(x, 2 * x), batch_size=2)
    best = KeepBest()
    run_trainer(Line(), (rows, rows), [best], options)
    return best


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, list[float]]]:
    """Every bar that is drawn: its label, its total and how it advances."""
    drawn: list[tuple[str, int, list[float]]] = []

    @contextmanager
    def bar(label: str, total: int) -> Iterator[Callable[[float], None]]:
        steps: list[float] = []
        drawn.append((label, total, steps))
        yield steps.append

    monkeypatch.setattr(loop, "bar", bar)
    return drawn


def test_the_bar_moves_with_every_batch(moves: list[tuple[str, int, list[float]]]) -> None:
    fit(Loop(2, label="fit a line"))
    assert moves == [("fit a line", 2, [0.0, *[0.25] * 8])]


def test_every_long_epoch_has_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(loop, "TELL_EVERY", 0.0)
    curve = fit(Loop(2, label="fit a line")).curve
    lines = [f"fit a line: epoch {i} of 2, validation loss {curve[i - 1]['val_loss']:.4f}" for i in (1, 2)]
    assert capsys.readouterr().err.splitlines() == lines


def test_short_epochs_are_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(loop, "TELL_EVERY", 1e9)
    fit(Loop(2))
    assert capsys.readouterr().err == ""


def test_a_resumed_training_says_where_it_goes_on(
    moves: list[tuple[str, int, list[float]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "line.ckpt"
    fit(Loop(1, checkpoint=checkpoint, label="fit a line"))
    best = fit(Loop(3, checkpoint=checkpoint, label="fit a line"))
    assert capsys.readouterr().err == "fit a line: goes on after epoch 1 of 3\n"
    assert [row["epoch"] for row in best.curve] == [1, 2, 3]
    assert moves[1][2] == [1.0, *[0.25] * 8]
