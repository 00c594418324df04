"""Classes of very unequal size, and rows that have lost a modality."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from plait.fusion.early import EARLY
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.late import KINDS, LateFusion
from plait.fusion.modality import MODALITIES
from plait.fusion.model import Model
from plait.report.metrics import calibration_error
from plait.training.heads.fitter import Fitter
from plait.training.heads.task import Task
from telling import accuracy, config, generator, modalities, said, unequal

# Classes of unequal size


HUNDRED = (100.0, 30.0, 10.0, 3.0, 1.0)


def difference(one: Tensor, other: Tensor) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies on the same rows, (N,) bool each, by a bootstrap."""
    each = (one.float() - other.float()).numpy()
    draws = np.random.default_rng(0).integers(0, len(each), (400, len(each)))
    low, high = np.quantile(each[draws].mean(1), [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("lean", [(0.85, 1.1), (0.2, 1.1)], ids=["alike", "weak-image"])
@pytest.mark.parametrize("smoothing", ["null", "0.1"])
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("rows", [700, pytest.param(2100, marks=pytest.mark.slow)])
def test_late_fusion_of_very_unequal_classes_is_not_below_a_single_modality(
    rows: int, weights: str, smoothing: str, lean: tuple[float, float]
) -> None:
    (train_rows, y), (val, val_y), (test, targets) = (
        unequal(n, HUNDRED, seed, lean) for seed, n in enumerate((rows, 300, 3000))
    )
    task = Task(train_rows, y, torch.arange(rows) % 3, val, val_y, 5)
    right: dict[str, Tensor] = {}
    for kind in ("product", "auto"):
        chosen = config(f"train.class_weights={weights}", f"train.label_smoothing={smoothing}", f"head.late={kind}")
        fitter = Fitter(task, chosen)
        for model in (*MODALITIES, "late"):
            found = logits(fitter.fit(model).head, test)
            right[kind if model == "late" else model] = found.argmax(1) == targets
    best = max((right[s] for s in MODALITIES), key=lambda one: float(one.float().mean()))
    for kind in ("product", "auto"):
        assert difference(right[kind], best)[1] >= 0, kind
        if lean[0] > 0.5:
            assert difference(right[kind], best)[0] > 0, kind


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("rows", [700, 2100])
def test_product_takes_out_the_prior_that_training_had(rows: int, weights: str, smoothing: float) -> None:
    """And puts in that of the rows as they are weighed."""
    (train_rows, y), (val, val_y) = (unequal(n, HUNDRED, seed) for seed, n in enumerate((rows, 300)))
    task = Task(train_rows, y, torch.arange(rows) % 3, val, val_y, 5)
    chosen = config(f"train.class_weights={weights}", f"train.label_smoothing={smoothing}", "head.late=product")
    fitter = Fitter(task, chosen)
    fusion = fitter.fit("late").head.fusion
    assert isinstance(fusion, LateFusion)
    counts = torch.bincount(y, minlength=5)
    shares = torch.ones(5) / 5 if weights == "balanced" else counts / counts.sum()
    torch.testing.assert_close(fusion.log_prior.exp(), shares, atol=1e-5, rtol=0)
    for modality, found in zip(MODALITIES, fusion.priors, strict=True):
        # By the law of total probability; smoothing is in it as far as the temperature leaves it.
        answers = logits(fitter.fit(modality).head, train_rows).softmax(1)
        weight = fitter.rows.answers.weights / fitter.rows.answers.weights.sum()
        torch.testing.assert_close(found.exp(), weight @ answers, atol=1e-5, rtol=1e-4)
        assert (found.exp() - shares).abs().max() < 0.06


def test_balanced_weights_help_rare_classes() -> None:
    g = generator(0)
    targets = torch.cat([torch.zeros(760, dtype=torch.int64), torch.ones(20, dtype=torch.int64), torch.full((20,), 2)])
    val = torch.arange(300) % 3
    rows = lambda y: modalities(said(y, 1.0, 3, g, noise=0.5), torch.zeros(len(y), 1))  # noqa: E731
    task = Task(rows(targets), targets, torch.arange(800) % 3, rows(val), val, 3)
    recall = {}
    for weights in ("none", "balanced"):
        found = Fitter(task, config(f"train.class_weights={weights}")).fit("image")
        answers = logits(found.head, task.val).argmax(1)
        recall[weights] = sum((answers[val == k] == k).float().mean().item() for k in range(3)) / 3
    assert recall["balanced"] > recall["none"] + 0.1


# Rows that have lost a modality


SHARES = (8.0, 4.0, 2.0, 1.0, 1.0, 0.5)
FUSIONS = [*(("late", kind) for kind in (*KINDS, "auto")), *(("early", kind) for kind in EARLY)]
TOWERS = ("head.towers.image=[16]", "head.towers.text=[16]", "head.huse.image=[16]", "head.huse.text=[16]")


@cache
def complete() -> tuple[Task, HeadInputs, Tensor]:
    """Complete rows for training and validation, and 8,000 to test on, of which modalities are taken away."""
    (train_rows, y), (val, val_y), (test, targets) = (
        unequal(n, SHARES, seed) for seed, n in enumerate((2400, 1500, 8000))
    )
    return Task(train_rows, y, torch.arange(2400) % 3, val, val_y, 6), test, targets


@cache
def fitted(model: str, kind: str) -> dict[str, Model]:
    fitter = Fitter(complete()[0], config(f"head.{model}={kind}", "train.epochs=8", *TOWERS))
    return {one: fitter.fit(one).head for one in (*MODALITIES, model)}


def error(found: Tensor, targets: Tensor) -> float:
    return calibration_error(found.softmax(1).numpy(), targets.numpy())


def by_chance(found: Tensor) -> float:
    """The calibration error that perfectly calibrated answers of this confidence have on so many rows."""
    shares, g = found.softmax(1), generator(0)
    return float(np.mean([error(found, torch.multinomial(shares, 1, generator=g)[:, 0]) for _ in range(20)]))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("gone", MODALITIES)
@pytest.mark.parametrize(("model", "kind"), FUSIONS)
def test_fusion_is_as_good_as_what_is_left(model: str, kind: str, gone: str, share: float) -> None:
    heads, (_, test, targets) = fitted(model, kind), complete()
    left = "text" if gone == "image" else "image"
    blank = torch.rand(len(targets), generator=generator(7)) < share
    found = logits(heads[model], HeadInputs(test.features, test.present | {gone: ~blank}))
    whole, alone = logits(heads[model], test), logits(heads[left], test)
    assert torch.equal(found[blank], alone[blank])
    assert torch.equal(found[~blank], whole[~blank])
    assert accuracy(found, targets) >= accuracy(alone, targets) - 0.005
    assert error(found, targets) <= 1.5 * error(whole, targets) + by_chance(found)


@pytest.mark.parametrize(("model", "kind"), FUSIONS)
def test_neither_modality_is_the_shares_of_the_classes(model: str, kind: str) -> None:
    heads, (task, test, targets) = fitted(model, kind), complete()
    nothing = dict.fromkeys(MODALITIES, torch.zeros(len(targets), dtype=torch.bool))
    found = logits(heads[model], HeadInputs(test.features, nothing)).softmax(1)
    shares = torch.bincount(task.targets) / len(task.targets)
    torch.testing.assert_close(found, shares.expand_as(found))
    assert torch.equal(found, logits(heads["image"], HeadInputs(test.features, nothing)).softmax(1))
