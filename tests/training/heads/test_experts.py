"""Experts of a modality: their optimum, what they read, and what they say of rows they were not trained on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.calibration import fit_calibration
from plait.fusion.inputs import HeadInputs
from plait.fusion.modality import Expert, ExpertSpec, Part, Shape
from plait.training.heads import experts
from plait.training.heads.designs import DenseDesign, SparseDesign
from plait.training.heads.experts import ExpertFit, Rows, SparseRows, answer, fit_linear, fit_mlp, loss_of
from plait.training.heads.logistic import Answers, solve
from plait.training.heads.strengths import STEPS, best_strength
from telling import accuracy, config, generator, said

CLASSES = 4
DENSE, WIDE = ExpertSpec((0,)), ExpertSpec((), (1,))
SHAPE = Shape({"text": (Part("net", 12), Part("words", 3))}, CLASSES, hidden=16, dropout=0.0)
SPECS = {"dense": DENSE, "wide": WIDE, "mlp": ExpertSpec((0, 1))}
every = pytest.mark.parametrize("kind", SPECS)


def wide(targets: Tensor, right: float, g: torch.Generator, terms: int = 40) -> csr_matrix:
    """(N, terms) rows that have a term of their class in a share `right` of them, beside terms that tell nothing."""
    noise = (torch.rand(len(targets), terms, generator=g) < 0.15) * torch.rand(len(targets), terms, generator=g)
    found = torch.cat([(said(targets, right, CLASSES, g, CLASSES, 0.0)), noise], 1)
    return csr_matrix(F.normalize(found).numpy())


def rows(targets: Tensor, val: Tensor, right: float = 0.7, folds: Tensor | None = None, seed: int = 0) -> Rows:
    """Text of two encoders, the second of which has a wide matrix, too; an image that nobody is to read."""
    g = generator(seed)
    parts = []
    for y in (targets, val):
        net, words = said(y, right, CLASSES, g, 12), torch.randn(len(y), 3, generator=g)
        present = {"image": torch.ones(len(y), dtype=torch.bool), "text": torch.ones(len(y), dtype=torch.bool)}
        parts.append(
            HeadInputs({"image": torch.full((len(y), 2), torch.nan), "text": torch.cat([net, words], 1)}, present)
        )
    even = [Answers(y, CLASSES, torch.ones(len(y))) for y in (targets, val)]
    sparse = {1: SparseRows(*(wide(y, right, g) for y in (targets, val)))}
    return Rows(parts[0], parts[1], even[0], even[1], folds, sparse)


def numbered(n: int) -> Tensor:
    return torch.arange(n) % CLASSES


def fit(kind: str, given: Rows, *overrides: str) -> ExpertFit:
    if kind != "mlp":
        return fit_linear("text", SPECS[kind], SHAPE, given)
    return fit_mlp("text", replace(SHAPE, kind="mlp"), given, config(*overrides))


def built(kind: str, found: ExpertFit) -> Expert:
    """The expert with its weights, in a modality whose features have the scores of the second encoder."""
    parts = (SHAPE.parts["text"][0], Part("words", 3, CLASSES))
    expert = Expert(
        "text", found.spec, replace(SHAPE, parts={"text": parts}, kind="mlp" if kind == "mlp" else "linear")
    )
    missing = expert.load_state_dict(found.state, strict=False)
    assert set(missing.missing_keys) == {"columns", "answers"}
    return expert.eval()


# What is fitted


@every
def test_logits_are_those_of_the_expert(kind: str) -> None:
    """On training rows and on validation rows, wide features as scores behind the dense ones."""
    given = rows(numbered(200), numbered(60))
    found = fit(kind, given, "train.epochs=3")
    for modalities, matrix, logits in (
        (given.train, given.sparse[1].train, found.train_logits),
        (given.val, given.sparse[1].val, found.held_logits),
    ):
        scores = (
            torch.from_numpy(matrix @ found.scores[1].numpy())
            if kind == "wide"
            else torch.zeros(len(matrix.toarray()), 4)
        )
        features = torch.cat([modalities.features["text"], scores], 1)
        torch.testing.assert_close(built(kind, found)(features), logits, atol=1e-4, rtol=1e-4)
    assert (len(found.scores), len(found.curve)) == {"dense": (0, 0), "wide": (1, 0), "mlp": (0, 3)}[kind]


@pytest.mark.parametrize("right", [0.7, 0.3])
def test_the_strength_is_the_best_on_validation_rows(right: float) -> None:
    """Against an exhaustive search over the path."""
    given = rows(numbered(120), numbered(200), right, seed=3)
    design = DenseDesign.of(given.train.features["text"][:, :12])
    losses, logits = [], []
    for step in STEPS:
        best = solve(design, given.answers, step * float(design.moments.sum()))
        logits.append(answer(given.val.features["text"][:, :12], design, best))
        losses.append(loss_of(logits[-1], given.val_answers))
    found = fit("dense", given).held_logits
    assert loss_of(found, given.val_answers) == pytest.approx(min(losses), abs=1e-3)
    assert (found.softmax(1) - logits[int(np.argmin(losses))].softmax(1)).abs().max() < 0.02


@pytest.mark.parametrize("folds", [None, torch.arange(200) // 4 % 3], ids=["whole", "folds"])
@pytest.mark.parametrize("kind", ["dense", "wide"])
def test_rows_that_have_judged_are_learnt_from_in_the_end(kind: str, folds: Tensor | None) -> None:
    """Against scikit-learn on the rows of both, with its C, which is of the sum of the losses, as it was chosen."""
    given = rows(numbered(200), numbered(60), folds=folds)
    alone = fit(kind, given)
    found = fit(kind, replace(given, further=given.val_answers))
    # They are answered by who has not seen them.
    torch.testing.assert_close(found.held_logits, alone.held_logits, atol=0.05, rtol=0.02)
    wide = [given.sparse[1].train, given.sparse[1].val]
    read = [part.features["text"][:, :12] for part in (given.train, given.val)]
    train, val = (part.toarray() for part in wide) if kind == "wide" else (part.numpy() for part in read)
    design = SparseDesign.of(wide[0]) if kind == "wide" else DenseDesign.of(torch.from_numpy(train))
    strengths = [10.0**step * float(design.moments.sum()) for step in np.arange(0, -8, -0.5)]
    every, targets = np.concatenate([train, val]), torch.cat([given.answers.targets, given.val_answers.targets])
    gaps = []
    for strength in strengths:  # one of them was chosen
        peer = LogisticRegression(C=1 / (strength * len(train)), tol=1e-6, max_iter=5000).fit(every, targets.numpy())
        gaps.append(np.abs(peer.predict_proba(train) - found.train_logits.softmax(1).numpy()).max())
    assert min(gaps) < 0.01
    assert (alone.train_logits.softmax(1) - found.train_logits.softmax(1)).abs().max() > 0.03


def test_on_an_encoder_that_has_seen_the_rows_wide_features_alone_learn_from_others() -> None:
    given = rows(numbered(200), numbered(60))
    seen = replace(given, further=given.val_answers, seen=True)
    for kind, same in (("dense", True), ("wide", False)):
        assert torch.equal(fit(kind, seen).train_logits, fit(kind, given).train_logits) == same


@pytest.mark.parametrize("kind", ["dense", "wide"])
def test_cross_fit_experts_are_trained_on_all_rows_with_the_strength_of_the_folds(kind: str) -> None:
    given = rows(numbered(200), numbered(60), folds=torch.arange(200) // 4 % 3)
    whole = fit(kind, given)
    assert whole.held_logits.shape == (260, CLASSES)
    one_fold = fit(kind, replace(given, folds=None)).held_logits  # whose strength is another
    assert (whole.held_logits[:60].argmax(1) == one_fold.argmax(1)).float().mean() > 0.9
    # Trained on all rows, it knows those better than experts that did not see them.
    own, unseen = (loss_of(x, given.answers) for x in (whole.train_logits, whole.held_logits[60:]))
    assert own < unseen


@every
def test_rows_without_the_modality_do_not_count(kind: str) -> None:
    """Neither their features nor their labels, in training and validation, with folds and without."""
    targets, val = numbered(160), numbered(60)
    given = rows(targets, val)
    gone = [torch.rand(len(y), generator=generator(8)) < 0.3 for y in (targets, val)]

    def spoilt(junk: float, shift: int, folds: Tensor | None) -> Rows:
        parts = []
        for modalities, hidden in zip((given.train, given.val), gone, strict=True):
            text = torch.where(hidden[:, None], junk, modalities.features["text"])
            parts.append(HeadInputs({"text": text}, {"text": ~hidden}))
        told = [
            replace(one, targets=torch.where(hidden, (one.targets + shift) % CLASSES, one.targets))
            for one, hidden in zip((given.answers, given.val_answers), gone, strict=True)
        ]
        return Rows(parts[0], parts[1], told[0], told[1], folds, given.sparse)

    for folds in (None, torch.arange(160) // 4 % 3):
        one, two = (fit(kind, spoilt(junk, shift, folds), "train.epochs=2") for junk, shift in ((0.0, 0), (50.0, 1)))
        assert all(torch.equal(value, two.state[name]) for name, value in one.state.items())
        assert torch.equal(one.held_logits[: len(val)][~gone[1]], two.held_logits[: len(val)][~gone[1]])
        if folds is not None:
            assert torch.equal(one.held_logits[len(val) :][~gone[0]], two.held_logits[len(val) :][~gone[0]])


# Out of fold


@every
def test_out_of_fold_logits_come_from_experts_that_have_not_seen_the_row(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random labels can only be memorised: right on rows seen, chance on others."""
    monkeypatch.setattr(experts, "best_strength", partial(best_strength, steps=[1e-5]))  # too weak to generalise
    g, n = generator(0), 240
    targets = torch.randint(0, CLASSES, (n,), generator=g)
    given = rows(targets, targets, folds=torch.arange(n) % 3)
    text, matrix = torch.randn(n, 400, generator=g), csr_matrix(F.normalize(torch.randn(n, 400, generator=g)).numpy())
    part = HeadInputs({"text": text}, {"text": torch.ones(n, dtype=torch.bool)})
    # Validated on themselves: memorising wins.
    given = replace(given, train=part, val=part, sparse={1: SparseRows(matrix, matrix)})
    shape = replace(
        SHAPE, parts={"text": (Part("net", 397), Part("words", 3))}, kind="mlp" if kind == "mlp" else "linear"
    )
    if kind == "mlp":
        found = fit_mlp("text", shape, given, config("train.lr=0.02", "train.batch=8", "train.epochs=30"))
    else:
        found = fit_linear("text", SPECS[kind], shape, given)
    assert accuracy(found.train_logits, targets) > 0.95
    assert accuracy(found.held_logits[n:], targets) < 0.25 + 3 * (0.25 * 0.75 / n) ** 0.5


@pytest.mark.parametrize("kind", ["dense", "wide"])
def test_a_linear_expert_learns_no_random_labels(kind: str) -> None:
    """Strength and calibration come from rows held out, and so it answers with the shares of the classes."""
    g = generator(0)
    targets, val = (torch.randint(0, CLASSES, (n,), generator=g) for n in (240, 80))
    given = rows(
        targets[torch.randperm(240, generator=g)], val[torch.randperm(80, generator=g)], folds=numbered(240) % 3
    )
    given = replace(given, answers=replace(given.answers, targets=targets))
    found = fit(kind, given)
    shares = torch.bincount(targets) / 240
    calibration = fit_calibration(found.held_logits[80:], targets, shares.log())
    said = calibration(found.held_logits[:80], shares.log())
    assert (said.exp() - shares).abs().max() < 0.15
    assert said.exp().max(1).values.mean() < shares.max() + 0.05  # and is no surer than they are


@every
def test_labels_of_a_fold_do_not_reach_its_own_out_of_fold_logits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All folds choose one strength together, so it is given here."""
    monkeypatch.setattr(experts, "best_strength", partial(best_strength, steps=[1e-4]))
    n = 300
    folds, targets = torch.arange(n) // CLASSES % 3, numbered(n)
    given, fold = rows(targets, numbered(80), folds=folds), folds == 1
    other = replace(given.answers, targets=torch.where(fold, (targets + 1) % CLASSES, targets))
    fixed = ("train.epochs=1", "train.batch=32", "train.lr=0.02")
    before, after = (fit(kind, replace(given, answers=one), *fixed).held_logits[80:] for one in (given.answers, other))
    assert torch.equal(before[fold], after[fold])
    assert (before[~fold] != after[~fold]).any(1).all()


@every
def test_features_of_a_fold_do_reach_the_others(kind: str) -> None:
    """The counterpart: the tests above would pass for experts that learn nothing."""
    given = rows(numbered(300), numbered(80), 0.85, torch.arange(300) // CLASSES % 3)
    found = fit(kind, given, "train.epochs=10")
    assert accuracy(found.held_logits[80:], given.answers.targets) > 0.75


@every
def test_a_fold_without_a_class_is_answered_all_the_same(kind: str) -> None:
    targets = numbered(120)
    given = rows(targets, numbered(40), folds=targets.clone())  # each fold has a class of its own
    found = fit(kind, given, "train.epochs=2")
    assert found.held_logits.isfinite().all()


# How a loss is taken


def test_loss_of() -> None:
    g = generator(0)
    logits, weights = 3 * torch.randn(50, 4, generator=g), torch.rand(50, generator=g)
    targets = torch.randint(0, 4, (50,), generator=g)
    flat = torch.full((4,), 0.25).log()
    log_probs = fit_calibration(logits, targets, flat, weights)(logits, flat)
    expected = -(weights * log_probs[torch.arange(50), targets]).sum() / weights.sum()
    assert loss_of(logits, Answers(targets, 4, weights)) == pytest.approx(float(expected), rel=1e-5)
    assert loss_of(logits[:0], Answers(targets[:0], 4, weights[:0])) == 0.0
