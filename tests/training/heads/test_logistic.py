"""Multinomial logistic regression, against scikit-learn's and against the formula."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from plait import matrix
from plait.matrix import DiskMatrix
from plait.training.heads import logistic
from plait.training.heads.designs import DenseDesign, Design, SparseDesign
from plait.training.heads.logistic import COARSE, Answers, Solution, solve
from plait.training.heads.streamed import StreamedDesign
from plait.training.heads.strengths import START, Trial, best_strength

ROWS, CLASSES = 300, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(rows: int = ROWS, dim: int = 12, seed: int = 0) -> Tensor:
    """Columns far from zero, of different scales, some of them nearly the same."""
    g = generator(seed)
    plain = torch.randn(rows, dim, generator=g) * torch.logspace(-1.5, 0.5, dim)
    plain[:, 1] = plain[:, 0] + 1e-2 * plain[:, 1]
    return plain + 3 * torch.randn(dim, generator=generator(9))


def sparse(rows: int = ROWS, dim: int = 80, seed: int = 0) -> csr_matrix:
    """Rows of unit length with few terms, frequent and rare ones."""
    rng = np.random.default_rng(seed)
    found = rng.random((rows, dim)) * (rng.random((rows, dim)) < np.logspace(-0.7, -2, dim))
    return csr_matrix(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def on_disk() -> DiskMatrix:
    """The dense ones in a file, as a part of a wider and longer matrix."""
    features = dense()
    rows, columns = torch.arange(ROWS) * 2, torch.arange(features.shape[1]) + 1
    wide = torch.full((2 * ROWS, features.shape[1] + 2), torch.nan)
    wide[rows[:, None], columns] = features
    matrix = DiskMatrix.new(Path(tempfile.gettempdir()), *wide.shape)
    matrix.write(0, wide.numpy())
    return matrix.view(rows, columns)


Made = Tensor | csr_matrix | DiskMatrix


def answers(features: Made, weighted: bool = False, smoothing: float = 0.0, seed: int = 1) -> Answers:
    """Classes, unequally frequent, drawn from a linear model of the features."""
    plain = torch.from_numpy(features.toarray()) if isinstance(features, csr_matrix) else features[:]
    g = generator(seed)
    true = 3 * torch.randn(plain.shape[1], CLASSES, generator=g)
    logits = F.normalize(plain - plain.mean(0)) @ true + torch.tensor([1.5, 0.5, 0.0, -1.0])
    targets = torch.multinomial(logits.softmax(1), 1, generator=g)[:, 0]
    weights = torch.rand(len(plain), generator=g) * 3 + 0.1 if weighted else torch.ones(len(plain))
    return Answers(targets, CLASSES, weights, smoothing)


def loss(features: np.ndarray, told: Answers, strength: float, weight: np.ndarray, bias: np.ndarray) -> float:
    """The formula of the module, in double precision: weight (D, K), bias (K,)."""
    logits = features @ weight + bias
    logits = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    share = (told.weights / told.weights.sum()).double().numpy()
    hot = np.eye(CLASSES)[told.targets.numpy()]
    soft = hot * (1 - told.smoothing) + told.smoothing / CLASSES
    return float(-(share[:, None] * soft * logits).sum() + strength / 2 * (weight**2).sum())


def plain(features: Made) -> np.ndarray:
    return features.toarray().astype(np.float64) if isinstance(features, csr_matrix) else features[:].double().numpy()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "BLOCK", 4 * 14 * 70)  # seventy rows, so that the last block is smaller


def designed(features: Made) -> Design:
    if isinstance(features, DiskMatrix):
        return StreamedDesign.of(features)
    return DenseDesign.of(features) if isinstance(features, Tensor) else SparseDesign.of(features)


def unsolved(design: Design, found: Solution) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = design.plain(found.weight, found.bias)
    return weight.double().numpy(), bias.double().numpy()


both = pytest.mark.parametrize("made", [dense, sparse, on_disk])
FEATURES = Callable[[], Made]


@both
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("strength", [1e-1, 1e-3, 1e-5])
def test_the_optimum_is_that_of_scikit_learn(made: FEATURES, weighted: bool, strength: float) -> None:
    features = made()
    told, design, array = answers(features, weighted), designed(features), plain(features)
    weights = told.weights.double().numpy()
    peer = LogisticRegression(C=1 / (strength * weights.sum()), tol=1e-8, max_iter=20_000)
    peer.fit(array, told.targets.numpy(), sample_weight=weights)
    best = loss(array, told, strength, peer.coef_.T, peer.intercept_)
    found = solve(design, told, strength)
    reached = loss(array, told, strength, *unsolved(design, found))
    assert best * (1 - 1e-5) <= reached <= best * (1 + 1e-3)
    assert found.loss == pytest.approx(reached, rel=1e-4)
    weight, bias = unsolved(design, found)
    probabilities = torch.from_numpy(array @ weight + bias).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, peer.predict_proba(array), atol=0.02 if strength > 1e-5 else 0.05)
    assert found.descent.evaluations < logistic.LIMIT


@both
@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_label_smoothing_is_the_minimum_of_the_formula(made: FEATURES, smoothing: float) -> None:
    features = made()
    told, design, array = answers(features, True, smoothing), designed(features), plain(features)
    dim = array.shape[1]
    share = (told.weights / told.weights.sum()).double().numpy()[:, None]
    soft = np.eye(CLASSES)[told.targets.numpy()] * (1 - smoothing) + smoothing / CLASSES
    centre = array.mean(0)  # the bias is free, so the minimum is the same, and soon found

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: dim * CLASSES].reshape(dim, CLASSES), flat[dim * CLASSES :]
        logits = (array - centre) @ weight + bias
        error = (np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)) - soft) * share
        gradient = (array - centre).T @ error + 1e-3 * weight
        return loss(array - centre, told, 1e-3, weight, bias), np.concatenate([gradient.ravel(), error.sum(0)])

    best = minimize(
        value, np.zeros((dim + 1) * CLASSES), jac=True, method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    reached = loss(array, told, 1e-3, *unsolved(design, solve(design, told, 1e-3)))
    assert best.fun * (1 - 1e-6) <= reached <= best.fun * (1 + 1e-3)


def test_soft_answers() -> None:
    found = Answers(torch.tensor([2, 0]), 4, torch.ones(2), 0.2).soft()
    torch.testing.assert_close(found, torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]))


@both
def test_the_bias_is_free(made: FEATURES) -> None:
    """However strong the L2, what is left are the weighted shares of the classes."""
    features = made()
    told, design = answers(features, weighted=True), designed(features)
    found = solve(design, told, 1e5)
    weight, bias = unsolved(design, found)
    shares = torch.zeros(CLASSES).index_add_(0, told.targets, told.weights) / told.weights.sum()
    logits = torch.from_numpy(plain(features) @ weight + bias)
    np.testing.assert_allclose(logits.softmax(1).numpy(), shares.expand(ROWS, -1).numpy(), atol=1e-3)


def test_a_shift_of_the_features_changes_nothing() -> None:
    features = dense()
    told = answers(features)
    one, two = DenseDesign.of(features), DenseDesign.of(features + 100)
    first, second = solve(one, told, 1e-3), solve(two, told, 1e-3)
    assert first.loss == pytest.approx(second.loss, rel=1e-3)


@both
def test_a_row_of_weight_zero_is_not_there(made: FEATURES) -> None:
    features = made()
    told, keep = answers(features, weighted=True), torch.arange(ROWS) % 3 > 0
    weights = torch.where(keep, told.weights, 0.0)
    ignored = Answers((told.targets + ~keep) % CLASSES, CLASSES, weights)
    design = designed(features)
    part = design.select(keep.nonzero()[:, 0])
    some, other = solve(part, told.select(keep.nonzero()[:, 0]), 1e-2), solve(design, ignored, 1e-2)
    assert some.loss == pytest.approx(other.loss, rel=1e-4)


@both
def test_selected_rows_keep_their_coordinates(made: FEATURES) -> None:
    design, rows = designed(made()), torch.tensor([5, 3, 200])
    weight = torch.randn(len(design.moments), CLASSES, generator=generator())
    part = design.select(rows)
    torch.testing.assert_close(part.times(weight), design.times(weight)[rows])
    slope = torch.randn(3, CLASSES, generator=generator())
    wide = torch.zeros(ROWS, CLASSES).index_copy_(0, rows, slope)
    torch.testing.assert_close(
        part.pull(weight, lambda here, _: slope[here]), design.pull(weight, lambda here, _: wide[here])
    )
    assert torch.equal(part.moments, design.moments)


def test_designs_are_the_features_in_other_coordinates() -> None:
    features = dense()
    design = DenseDesign.of(features)
    assert len(design.moments) <= 12  # nearly the same columns may share an axis
    weight, bias = torch.randn(len(design.moments), CLASSES, generator=generator()), torch.arange(4.0)
    back, shifted = design.plain(weight, bias)
    torch.testing.assert_close(features @ back + shifted, design.times(weight) + bias, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(design.moments.sum(), features.var(0, correction=0).sum())
    wide = sparse()
    moments = torch.from_numpy(wide.toarray()).square().mean(0)
    torch.testing.assert_close(SparseDesign.of(wide).moments, moments)


@both
def test_the_order_of_the_path_does_not_matter(made: FEATURES) -> None:
    features = made()
    design, told = designed(features), answers(features)
    cold = solve(design, told, 1e-4)
    warm = solve(design, told, 1e-4, solve(design, told, 1e-2))
    assert warm.loss == pytest.approx(cold.loss, rel=1e-3)
    assert warm.strength == 1e-4


@pytest.mark.parametrize("features", [torch.ones(20, 3), torch.zeros(20, 3)])
def test_features_that_tell_nothing(features: Tensor) -> None:
    told = Answers(torch.arange(20) // 15, 2, torch.ones(20))
    design = DenseDesign.of(features)
    found = solve(design, told, 1e-3)
    weight, bias = design.plain(found.weight, found.bias)
    shares = (features @ weight + bias).softmax(1)
    torch.testing.assert_close(shares, torch.tensor([0.75, 0.25]).expand(20, 2), atol=1e-3, rtol=0)


def test_a_single_row() -> None:
    design = DenseDesign.of(torch.tensor([[1.0, 2.0]]))
    assert solve(design, Answers(torch.tensor([1]), 3, torch.ones(1)), 1e-3).weight.isfinite().all()


# The strength


def judged(features: Tensor, told: Answers, held: Tensor, truth: Answers) -> tuple[Trial, list[float]]:
    """A trial judged by the loss on held-out rows, and the strengths that were judged, in order."""
    design = DenseDesign.of(features)
    tried: list[float] = []

    def judge(found: Solution) -> float:
        tried.append(found.strength)
        weight, bias = design.plain(found.weight, found.bias)
        return float(F.cross_entropy(held @ weight + bias, truth.targets))

    return Trial(design, told, judge), tried


STEPS = [*10.0 ** np.arange(0.0, -7, -1)]


@pytest.mark.parametrize(("noise", "above"), [(0.0, False), (0.3, True), (2.0, True), (30.0, True)])
def test_the_best_of_the_path_is_found(noise: float, above: bool) -> None:
    """Whether it lies below where the path begins, or above, as with features that are mostly noise."""
    features = torch.cat([dense(200, 6), noise * torch.randn(200, 40, generator=generator(4))], 1)
    told = answers(features[:, :6])
    if not noise:  # what the features say is certain, so weak L2 is best
        true = torch.randn(6, CLASSES, generator=generator(5))
        told = replace(told, targets=((features[:, :6] - features[:, :6].mean(0)) @ true).argmax(1))
    (trial, tried), (other, _) = (
        judged(features[:120], told.select(torch.arange(120)), features[120:], told.select(torch.arange(120, 200)))
        for _ in range(2)
    )
    (found,) = best_strength([trial], STEPS)
    variance, begin = float(trial.design.moments.sum()), max(step for step in STEPS if step <= START)
    losses = {step: other.judge(solve(other.design, other.answers, step * variance)) for step in STEPS}
    taken = min(STEPS, key=lambda step: abs(np.log(found.strength / (step * variance))))
    assert losses[taken] <= min(losses.values()) * (1 + 3 * COARSE)
    assert (min(losses, key=losses.__getitem__) > begin) == above
    assert tried[0] == pytest.approx(begin * variance, rel=1e-6)


@pytest.mark.parametrize(
    ("curve", "tried", "best"),
    [
        ([9, 9, 9, 5, 4, 6], [3, 4, 5], 4),  # down until it gets worse
        ([9, 9, 9, 5, 4, 3], [3, 4, 5], 5),  # down to the end
        ([3, 1, 2, 4, 5, 9], [3, 4, 2, 1, 0], 1),  # worse at once, so up
        ([1, 2, 3, 4, 5, 9], [3, 4, 2, 1, 0], 0),
        ([1, 2, 8, 4, 5, 9], [3, 4, 2], 3),  # worse either way
        ([9, 9, 1, 5, 5, 1], [3, 4, 2, 1], 2),  # weaker must be better
        ([9, 9, 1, 5, 4.9999, 1], [3, 4, 2, 1], 2),  # and by more than the optima are precise
        ([9, 3, 5, 5, 5, 1], [3, 4, 2, 1, 0], 1),  # stronger may be as good for a while
        ([2, 5, 5, 5, 5.0001, 1], [3, 4, 2, 1, 0], 0),
    ],
)
def test_the_way_along_the_path(curve: list[float], tried: list[int], best: int) -> None:
    design = DenseDesign.of(dense(30, 3))
    strengths = [step * float(design.moments.sum()) for step in (1e-1, 1e-2, 1e-3, 1e-5, 1e-6, 1e-7)]
    seen: list[int] = []

    def judge(found: Solution) -> float:
        seen.append(int(np.argmin([abs(np.log(found.strength / s)) for s in strengths])))
        return curve[seen[-1]]

    told = Answers(torch.arange(30) % 3, 3, torch.ones(30))
    (found,) = best_strength([Trial(design, told, judge)], [1e-1, 1e-2, 1e-3, 1e-5, 1e-6, 1e-7])
    assert seen == tried
    assert found.strength == pytest.approx(strengths[best], rel=1e-6)


def test_trials_are_judged_together() -> None:
    """One fold likes weak L2, two like it stronger; all have the strength that is best for their sum."""
    design, told = DenseDesign.of(dense(30, 3)), Answers(torch.arange(30) % 3, 3, torch.ones(30))
    variance = float(design.moments.sum())

    def trial(liked: float, much: float) -> Trial:
        return Trial(design, told, lambda s: much * abs(np.log10(s.strength / variance) - liked))

    found = best_strength([trial(-6, 1.0), trial(-3, 0.8), trial(-3, 0.8)], STEPS)
    assert [one.strength / variance for one in found] == pytest.approx([1e-3] * 3)
