"""What fitting promises: repeatability, heads that are shared, experts that are joined, calibration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from plait.config import Config
from plait.fusion.calibration import RANGE
from plait.fusion.early.towers import Head as TowersHead
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.late import LateFusion
from plait.fusion.modality import MODALITIES, Part, Shape, prior
from plait.fusion.model import Model
from plait.fusion.spec import MODELS, build_model, early_head, modalities_of
from plait.training.heads.descent import Copies, batch_size, train
from plait.training.heads.experts import SparseRows
from plait.training.heads.fitter import FittedModel, Fitter
from plait.training.heads.logistic import Answers
from plait.training.heads.task import Task
from telling import SEEN, accuracy, config, generator, modalities, said, small


def even(targets: Tensor, classes: int) -> Answers:
    return Answers(targets, classes, torch.ones(len(targets)))


def fit_all(task: Task, chosen: Config, models: tuple[str, ...] = MODELS) -> dict[str, FittedModel]:
    fitter = Fitter(task, chosen)
    return {model: fitter.fit(model) for model in models}


def late_of(model: Model) -> LateFusion:
    assert isinstance(model.fusion, LateFusion)
    return model.fusion


# Which rows are held out


@pytest.mark.parametrize(
    ("rows", "seen", "cross"), [(300, (), True), (2000, (), True), (2001, (), False), (300, SEEN, False)]
)
def test_few_rows_are_held_out_in_turn_unless_an_encoder_has_seen_them(rows: int, seen: Any, cross: bool) -> None:
    task = replace(small(rows=rows), seen=frozenset(seen))
    fitter = Fitter(task, config())
    assert fitter.rows.cross_fits == cross
    held, answers = fitter.rows.held
    assert len(held) == len(answers.targets) == 100 + rows * cross
    assert torch.equal(held.features["text"][:100], task.val.features["text"])
    assert torch.equal(held.features["text"][100:], task.train.features["text"][: rows * cross])
    assert torch.equal(answers.targets[100:], task.targets[: rows * cross])


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    """By the shares of the training rows, validation rows too."""
    targets, val = torch.tensor([0] * 6 + [1] * 3 + [2]), torch.tensor([2, 0])
    rows = lambda n: modalities(torch.randn(n, 3), torch.randn(n, 3))  # noqa: E731
    fitter = Fitter(
        Task(rows(10), targets, torch.arange(10) % 2, rows(2), val, 3), config("train.class_weights=balanced")
    )
    weights = fitter.rows.answers.weights
    torch.testing.assert_close(torch.zeros(3).index_add_(0, targets, weights), torch.full((3,), 10 / 3))
    torch.testing.assert_close(fitter.rows.held[1].weights[:2], weights[[9, 0]])
    torch.testing.assert_close(fitter.rows.log_prior.exp(), torch.ones(3) / 3)


# Repeatability


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
        assert (fitted.curve, fitted.val_loss) == (again[model].curve, again[model].val_loss)


def test_linear_heads_do_not_depend_on_the_seed() -> None:
    """They have one optimum, whatever epochs, batch and learning rate."""
    task = small()
    first, other = (
        fit_all(task, config(f"seed={seed}", f"train.epochs={seed + 1}"), ("image", "text")) for seed in (0, 5)
    )
    for model in first:
        assert torch.equal(logits(first[model].head, task.val), logits(other[model].head, task.val))
        assert first[model].curve == []


def test_models_do_not_depend_on_the_order_they_are_fitted_in() -> None:
    task, chosen = small(), config("train.epochs=2")
    forwards = fit_all(task, chosen)
    backwards = fit_all(task, chosen, MODELS[::-1])
    for model in MODELS:
        assert torch.equal(logits(forwards[model].head, task.val), logits(backwards[model].head, task.val))
        assert forwards[model].val_loss == backwards[model].val_loss
        alone = Fitter(task, chosen).fit(model)
        assert torch.equal(logits(alone.head, task.val), logits(forwards[model].head, task.val))


# What the models share


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_every_model_has_the_heads_of_the_modalities(kind: str) -> None:
    task = small()
    fitted = fit_all(task, config("train.epochs=2", "head.late=product", f"head.kind={kind}"))
    for model in ("late", "early"):
        for modality in MODALITIES:
            alone = fitted[modality].head.heads[modality].state_dict()
            shared = fitted[model].head.heads[modality].state_dict()
            assert all(torch.equal(alone[name], shared[name]) for name in alone)
            hidden = {s: torch.full((100,), s == modality) for s in MODALITIES}
            found = logits(fitted[model].head, HeadInputs(task.val.features, hidden))
            assert torch.equal(found, logits(fitted[modality].head, task.val))
    assert fitted["late"].note == "product"
    assert fitted["image"].note == f"{kind} head on image features"


def test_a_model_is_built_again_from_its_spec() -> None:
    task = small()
    for fitted in fit_all(task, config("train.epochs=1", "head.late=weighted")).values():
        again = build_model(type(fitted.spec).from_json(fitted.spec.as_json()))
        again.load_state_dict(fitted.head.state_dict())
        assert torch.equal(logits(again, task.val), logits(fitted.head, task.val))


# Several text encoders


def several(rows: int = 600, seed: int = 0) -> tuple[Task, HeadInputs, csr_matrix, Tensor]:
    """A network and a TF-IDF, each of which knows some classes only; with test rows and their wide features."""
    g, classes = generator(seed), 6

    def drawn(n: int) -> tuple[HeadInputs, csr_matrix, Tensor]:
        y = torch.arange(n) % classes
        net = said(y // 2, 0.9, 3, g, 12)
        wide = torch.cat([said(y % 2, 0.9, 2, g, 2, 0.0), (torch.rand(n, 30, generator=g) < 0.1).float()], 1)
        dense = F.normalize(wide) @ torch.randn(32, 4, generator=generator(9))
        text = torch.cat([net, dense], 1)
        return modalities(said(y, 0.9, classes, g), text), csr_matrix(F.normalize(wide).numpy()), y

    (train_rows, wide, y), (val, val_wide, val_y), (test, test_wide, test_y) = (drawn(n) for n in (rows, 300, 1200))
    parts = {"text": (Part("net", 12), Part("words", 4)), "image": (Part("image", 16),)}
    task = Task(
        train_rows, y, torch.arange(rows) // classes % 3, val, val_y, classes,
        parts=parts, sparse={1: SparseRows(wide, val_wide)},
    )  # fmt: skip
    return task, test, test_wide, test_y


@pytest.mark.parametrize("rows", [600, 2100])
def test_experts_are_joined(rows: int) -> None:
    """Each alone is right in less than half of the rows; together they tell all classes."""
    task, test, wide, targets = several(rows)
    fitted = fit_all(task, config("train.epochs=5", "train.batch=128"))
    text = fitted["text"]
    assert "words" in text.note
    assert set(text.scores) == {1}
    assert text.scores[1].shape == (32, 6)
    assert [(part.name, part.dense, part.scores) for part in text.spec.shape.parts["text"]] == [
        ("net", 12, 0), ("words", 4, 6)
    ]  # fmt: skip
    whole = torch.cat([test.features["text"], torch.from_numpy(wide @ text.scores[1].numpy())], 1)
    scored = HeadInputs({"image": test.features["image"], "text": whole}, test.present)
    found = {model: accuracy(logits(fitted[model].head, scored), targets) for model in MODELS}
    assert found["text"] > 0.7  # 0.9 ** 2 at best
    assert found["late"] > max(found["image"], found["text"])
    for model in ("late", "early"):
        assert {i: id(w) for i, w in fitted[model].scores.items()} == {i: id(w) for i, w in text.scores.items()}
        hidden = {"image": torch.zeros(1200, dtype=torch.bool), "text": scored.present["text"]}
        assert torch.equal(logits(fitted[model].head, HeadInputs(scored.features, hidden)), logits(text.head, scored))


def test_an_encoder_that_tells_nothing_costs_nothing() -> None:
    task, test, _, targets = several()
    g = generator(1)
    telling = lambda y: torch.cat([said(y, 0.8, 6, g, 12), torch.randn(len(y), 4, generator=g)], 1)  # noqa: E731
    noise = [csr_matrix(F.normalize(torch.rand(n, 30, generator=g)).numpy()) for n in (600, 300, 1200)]
    task = replace(
        task,
        train=modalities(task.train.features["image"], telling(task.targets)),
        val=modalities(task.val.features["image"], telling(task.val_targets)),
        sparse={1: SparseRows(*noise[:2])},
    )
    fitted = Fitter(task, config()).fit("text")
    assert "linear head on net" in fitted.note or "linear heads on net" in fitted.note
    features = [telling(targets), *(torch.from_numpy(noise[2] @ w.numpy()) for w in fitted.scores.values())]
    found = logits(fitted.head, modalities(test.features["image"], torch.cat(features, 1)))
    assert accuracy(found, targets) == pytest.approx(0.8, abs=0.04)


# Calibration


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("model", MODELS)
def test_models_are_calibrated_on_validation_rows(model: str, kind: str) -> None:
    """No other sharpness of the answers has a smaller loss, but for what the pull to 1 makes of 600 rows."""
    g, val = generator(4), torch.arange(600) % 5
    task = replace(small(rows=2100), val=modalities(*(said(val, right, 5, g) for right in (0.5, 0.8))), val_targets=val)
    fitted = Fitter(task, config("train.epochs=4", f"head.kind={kind}", "train.batch=128")).fit(model)
    out = logits(fitted.head, task.val)
    loss = F.cross_entropy(out, val).item()
    assert fitted.val_loss == pytest.approx(loss, rel=0.05)
    for factor in (0.75, 1.3):
        assert F.cross_entropy(out * factor, val).item() > loss


@pytest.mark.parametrize("rows", [20, 60, pytest.param(160, marks=pytest.mark.slow)])
@pytest.mark.parametrize("right", [0.6, 1.0])
def test_few_rows_bring_no_temperature_to_its_bound(rows: int, right: float) -> None:
    """Not even where the experts are always right, in and out of fold."""
    g, targets, val = generator(1), torch.arange(rows) % 5, torch.arange(max(5, rows // 10)) % 5
    task = Task(
        modalities(*(said(targets, right, 5, g) for _ in MODALITIES)), targets, torch.arange(rows) // 5 % 2,
        modalities(*(said(val, right, 5, g) for _ in MODALITIES)), val, 5,
    )  # fmt: skip
    for fitted in fit_all(task, config("head.folds=2")).values():
        found = [fitted.head.temperature]
        for head in fitted.head.heads.values():
            found += [head.temperature, *head.temperatures]
        assert all(2 * RANGE[0] < float(one) < RANGE[1] / 2 for one in found)


def test_few_rows_give_answers_that_are_no_surer_than_right() -> None:
    """100 rows, of which a fifth says another class than its own; confidence and accuracy on new rows."""
    new, far = torch.arange(3000) % 5, []
    for seed in range(3):
        g, targets, val = generator(seed), torch.arange(100) % 5, torch.arange(10) % 5
        train_rows, val_rows, test = (
            modalities(*(said(y, 0.8, 5, g, noise=0.4) for _ in MODALITIES)) for y in (targets, val, new)
        )
        task = Task(train_rows, targets, torch.arange(100) // 5 % 5, val_rows, val, 5)
        for fitted in fit_all(task, config("train.epochs=10")).values():
            found = logits(fitted.head, test)
            far.append(found.softmax(1).max(1).values.mean().item() - accuracy(found, new))
    assert max(far) < 0.08
    assert np.abs(far).mean() < 0.1


# Training


def test_a_copy_is_trained_as_if_alone() -> None:
    """Copies share a loop and its batches, but neither weights nor losses."""
    task = small()
    fixed = config("train.epochs=1", "train.batch=50").train
    shape = Shape.of({"image": 16, "text": 16}, task.classes, towers={"image": (8,), "text": (8,)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        alone, first, second = (early_head("towers", shape) for _ in range(3))
    for head in (first, second):
        head.load_state_dict(alone.state_dict())
    data, val = (task.train, even(task.targets, 5)), (task.val, even(task.val_targets, 5))
    train(Copies([alone]), data, val, fixed, seed=3)
    keep = torch.stack([torch.ones(300, dtype=torch.bool), task.folds != 0])
    train(Copies([first, second]), data, val, fixed, seed=3, keep=keep)
    for one, two in zip(alone.parameters(), first.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    assert not torch.equal(first.output.weight, second.output.weight)  # type: ignore[union-attr,arg-type]


def overfitted(patience: int) -> tuple[TowersHead, list[dict[str, float]], HeadInputs, Tensor]:
    g = generator(0)
    targets, val = torch.randint(0, 4, (160,), generator=g), torch.randint(0, 4, (200,), generator=g)
    rows = lambda y: modalities(said(y, 0.6, 4, g, dim=64, noise=0.5), torch.zeros(len(y), 1))  # noqa: E731
    data, held = rows(targets), rows(val)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = TowersHead(Shape.of({"image": 64, "text": 1}, 4, towers={"image": (32,), "text": (1,)}))
    head.prepare(data.features, data.present, prior(targets, 4))
    chosen = config("train.lr=0.01", "train.epochs=30", f"train.patience={patience}", "train.label_smoothing=0").train
    curve = train(Copies([head]), (data, even(targets, 4)), (held, even(val, 4)), chosen).curve
    return head, curve, held, val


@pytest.mark.parametrize("patience", [1, 30])
def test_the_weights_of_the_best_epoch_are_kept(patience: int) -> None:
    head, curve, held, val = overfitted(patience)
    losses = [epoch["val_loss"] for epoch in curve]
    best = losses.index(min(losses))
    assert best < len(losses) - 1
    assert (len(losses) < 30) == (patience == 1)  # all patience is over, or there is more of it than epochs
    assert F.cross_entropy(logits(head, held), val).item() == pytest.approx(min(losses), rel=1e-5)
    assert accuracy(logits(head, held), val) == pytest.approx(curve[best]["val_accuracy"], abs=1e-6)
    assert [epoch["epoch"] for epoch in curve] == list(range(1, len(losses) + 1))
    assert not head.training


@pytest.mark.parametrize(
    ("rows", "batch"), [(1, 32), (1000, 32), (1023, 32), (1024, 64), (4000, 128), (18_119, 512), (10**6, 512)]
)
def test_batch_size(rows: int, batch: int) -> None:
    assert batch_size(rows) == batch


@pytest.mark.parametrize("model", MODELS)
def test_logits_in_blocks_equal_logits_at_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = small()
    head = Fitter(task, config("train.epochs=1")).fit(model).head
    assert set(head.heads) == set(modalities_of(model))
    whole = logits(head, task.train)
    monkeypatch.setattr("plait.fusion.inputs.EVAL_BATCH", 7)
    torch.testing.assert_close(logits(head, task.train), whole)
