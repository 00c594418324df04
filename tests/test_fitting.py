"""What fitting promises: honest out-of-fold logits, repeatability, and no trust in an encoder that saw the answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.config import Config
from plait.fitting import FittedModel, Fitter, Task
from plait.fusion.batch import Strands, logits
from plait.fusion.strand import Shape, StrandHead, prior
from plait.training import Copies, batch_size, train
from telling import SEEN, accuracy, config, generator, over_separated, points, said, small, strands

# Out-of-fold logits


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_out_of_fold_logits_come_from_heads_that_have_not_seen_the_row(kind: str) -> None:
    """Random labels can only be memorised: right on rows seen, chance on others."""
    g, n = generator(0), 240
    rows = strands(torch.randn(n, 400, generator=g), torch.randn(n, 400, generator=g))
    targets = torch.randint(0, 4, (n,), generator=g)
    task = Task(rows, targets, torch.arange(n) % 3, rows, targets, 4)  # validated on themselves: memorising wins
    fitter = Fitter(task, config(f"head.kind={kind}", "head.dropout=0", "train.lr=0.02", "train.batch=8"))
    fit = fitter._strand("image")
    assert accuracy(logits(fit.head, task.train), targets) > 0.95
    assert accuracy(fit.oof_logits, targets) < 0.25 + 3 * (0.25 * 0.75 / n) ** 0.5


def test_labels_of_a_fold_do_not_reach_its_own_out_of_fold_logits() -> None:
    task, fixed = small(), config("train.epochs=1", "train.batch=32", "train.lr=0.02", "head.kind=mlp")
    fold = task.folds == 1
    changed = replace(task, targets=torch.where(fold, (task.targets + 1) % task.classes, task.targets))
    before, after = (Fitter(t, fixed)._strand("text").oof_logits for t in (task, changed))
    assert torch.equal(before[fold], after[fold])
    assert (before[~fold] != after[~fold]).any(1).all()


def test_features_of_a_fold_do_reach_the_others() -> None:
    """The counterpart: the test above would pass for heads that learn nothing."""
    task = small()
    fit = Fitter(task, config("train.epochs=5"))._strand("text")
    assert accuracy(fit.oof_logits, task.targets) > 0.7


def test_a_copy_is_trained_as_if_alone() -> None:
    """Copies share a loop and its batches, but neither weights nor losses."""
    task = small()
    fixed = config("train.epochs=1", "train.batch=50").train
    shape = Shape.of({"image": 16, "text": 16}, task.classes)
    data, val = (task.train, task.targets), (task.val, task.val_targets)
    alone, first, second = (StrandHead("text", shape) for _ in range(3))
    train(Copies([alone]), data, val, fixed, seed=3)
    keep = torch.stack([torch.ones(300, dtype=torch.bool), task.folds != 0])
    train(Copies([first, second]), data, val, fixed, seed=3, keep=keep)
    for one, two in zip(alone.parameters(), first.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    assert not torch.equal(first.layers[0].weight, second.layers[0].weight)  # type: ignore[arg-type]


# Repeatability


def fit_all(task: Task, chosen: Config) -> dict[str, FittedModel]:
    fitter = Fitter(task, chosen)
    return {model: fitter.fit(model) for model in ("image", "text", "late", "early")}


def test_the_seed_decides_everything() -> None:
    task, outer = small(), torch.random.get_rng_state()
    first = fit_all(task, config("train.epochs=3", "head.kind=mlp"))
    assert torch.equal(torch.random.get_rng_state(), outer)  # the caller's random numbers are the caller's
    torch.manual_seed(99)
    again = fit_all(task, config("train.epochs=3", "head.kind=mlp"))
    other = fit_all(task, config("train.epochs=3", "head.kind=mlp", "seed=1"))
    for model, fitted in first.items():
        weights, weights_again = fitted.head.state_dict(), again[model].head.state_dict()
        assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
        probabilities = logits(fitted.head, task.val).softmax(1)
        assert torch.equal(probabilities, logits(again[model].head, task.val).softmax(1))
        assert not torch.equal(probabilities, logits(other[model].head, task.val).softmax(1))
        assert fitted.curve == again[model].curve


def test_models_do_not_depend_on_the_order_they_are_fitted_in() -> None:
    task, chosen = small(), config("train.epochs=2")
    late_first, early_first = Fitter(task, chosen), Fitter(task, chosen)
    one = [late_first.fit(model) for model in ("late", "early")]
    two = [early_first.fit(model) for model in ("early", "late")][::-1]
    for a, b in zip(one, two, strict=True):
        assert torch.equal(logits(a.head, task.val), logits(b.head, task.val))


# An encoder that has seen the training rows


def test_early_fusion_does_not_trust_an_encoder_that_saw_the_rows() -> None:
    text = points("text", SEEN)
    assert text == pytest.approx(80, abs=2)
    assert points("early", SEEN) >= text - 2
    assert points("early", frozenset()) < text - 10  # what the protection is for


@pytest.mark.parametrize("kind", ["auto", "weighted", "stacking"])
def test_late_fusion_does_not_trust_an_encoder_that_saw_the_rows(kind: str) -> None:
    text = points("text", SEEN)
    # Stacking has 210 parameters here, fitted to 400 validation rows: it pays for that, and `auto` leaves it out.
    assert points("late", SEEN, f"head.late={kind}") >= text - (4 if kind == "stacking" else 2)
    if kind != "auto":
        assert points("late", frozenset(), f"head.late={kind}") < text - 10


def test_an_honest_encoder_needs_no_swaps() -> None:
    task = small()
    honest = Fitter(replace(task, seen=SEEN), config())
    assert honest._excess("image") < 0.15
    assert Fitter(task, config()).fit("early").note == "concatenation MLP"
    wronged, _, _ = over_separated(SEEN)
    fitter = Fitter(wronged, config())
    assert fitter._excess("image") == pytest.approx(0.6, abs=0.06)
    assert fitter.fit("early").note.endswith("% of image features swapped in training")


# Training


def test_balanced_weights_help_rare_classes() -> None:
    g = generator(0)
    targets = torch.cat([torch.zeros(760, dtype=torch.int64), torch.ones(20, dtype=torch.int64), torch.full((20,), 2)])
    val = torch.arange(300) % 3
    rows = lambda y: strands(said(y, 1.0, 3, g, noise=0.5), torch.zeros(len(y), 1))  # noqa: E731
    task = Task(rows(targets), targets, torch.arange(800) % 3, rows(val), val, 3)
    recall = {}
    for weights in ("none", "balanced"):
        found = Fitter(task, config(f"train.class_weights={weights}", "train.epochs=15")).fit("image")
        answers = logits(found.head, task.val).argmax(1)
        recall[weights] = sum((answers[val == k] == k).float().mean().item() for k in range(3)) / 3
    assert recall["balanced"] > recall["none"] + 0.1


def overfitted(patience: int) -> tuple[StrandHead, list[dict[str, float]], Strands, Tensor]:
    g = generator(0)
    targets, val = torch.randint(0, 4, (160,), generator=g), torch.randint(0, 4, (200,), generator=g)
    rows = lambda y: strands(said(y, 0.6, 4, g, dim=64, noise=0.5), torch.zeros(len(y), 1))  # noqa: E731
    data, held = rows(targets), rows(val)
    head = StrandHead("image", Shape.of({"image": 64, "text": 1}, 4))
    head.prepare(data.features, data.present, prior(targets, 4))
    chosen = config("train.lr=0.03", "train.epochs=12", f"train.patience={patience}", "train.label_smoothing=0").train
    return head, train(Copies([head]), (data, targets), (held, val), chosen).curve, held, val


@pytest.mark.parametrize("patience", [2, 12])
def test_the_weights_of_the_best_epoch_are_kept(patience: int) -> None:
    head, curve, held, val = overfitted(patience)
    losses = [epoch["val_loss"] for epoch in curve]
    best = losses.index(min(losses))
    assert best < len(losses) - 1
    assert len(losses) == min(12, best + 1 + patience)
    assert F.cross_entropy(logits(head, held), val).item() == pytest.approx(min(losses), rel=1e-5)
    assert accuracy(logits(head, held), val) == pytest.approx(curve[best]["val_accuracy"], abs=1e-6)
    assert [epoch["epoch"] for epoch in curve] == list(range(1, len(losses) + 1))
    assert not head.training


def test_models_are_calibrated_on_validation_rows() -> None:
    task = small()
    for fitted in fit_all(task, config("train.epochs=4")).values():
        out = logits(fitted.head, task.val)
        loss = F.cross_entropy(out, task.val_targets).item()
        assert fitted.val_loss == pytest.approx(loss, rel=1e-6)
        for factor in (0.9, 1.1):
            assert F.cross_entropy(out * factor, task.val_targets).item() > loss


def test_late_is_built_from_the_heads_of_the_strands() -> None:
    task = small()
    fitted = fit_all(task, config("train.epochs=2", "head.late=product"))
    late = fitted["late"].head.head
    for strand in ("image", "text"):
        alone = fitted[strand].head.head.state_dict()
        shared = late.heads[strand].state_dict()  # type: ignore[index,union-attr]
        assert all(torch.equal(alone[name], shared[name]) for name in alone)
    assert fitted["late"].note == "product"


@pytest.mark.parametrize(
    ("rows", "batch"), [(1, 32), (1000, 32), (1023, 32), (1024, 64), (4000, 128), (18_119, 512), (10**6, 512)]
)
def test_batch_size(rows: int, batch: int) -> None:
    assert batch_size(rows) == batch


def test_logits_in_blocks_equal_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = small()
    head = Fitter(task, config("train.epochs=1")).fit("early").head
    whole = logits(head, task.train)
    monkeypatch.setattr("plait.fusion.batch.EVAL_BATCH", 7)
    torch.testing.assert_close(logits(head, task.train), whole)
