"""From experts to the head of a modality: the choice among ways to join them, and what is fitted to which rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.calibration import fit_calibration, fit_temperature
from plait.fusion.modality import ExpertSpec, ModalityHead, Part, Shape
from plait.fusion.pool import fit_exponents, log_pool, mean_pool
from plait.training.heads.designs import DenseDesign
from plait.training.heads.experts import ExpertFit
from plait.training.heads.logistic import Answers, solve
from plait.training.heads.pools import (
    PARTS,
    Held,
    Joined,
    Taught,
    Way,
    calibrated,
    choose,
    cross_validated,
    head_of,
    held_by,
    mean_loss,
)
from telling import generator

CLASSES = 4


def even(targets: Tensor) -> Answers:
    return Answers(targets, CLASSES, torch.ones(len(targets)))


# Cross-validation


@pytest.mark.parametrize("rows", [2, 3, 5, 23])
def test_every_row_is_answered_by_what_was_fitted_to_the_others(rows: int) -> None:
    parts: list[list[int]] = []

    def fit(seen: Tensor) -> Joined:
        def answer(other: Tensor) -> Tensor:
            assert not set(seen.tolist()) & set(other.tolist())
            assert len(seen) + len(other) == rows
            parts.append(other.tolist())
            return other[:, None].float()

        return answer

    found = cross_validated(fit, rows, 1, seed=0)
    assert found[:, 0].tolist() == list(range(rows))
    assert sorted(row for part in parts for row in part) == list(range(rows))
    assert len(parts) == min(PARTS, rows)


def test_the_seed_draws_the_parts() -> None:
    def parts(seed: int) -> list[list[int]]:
        found: list[list[int]] = []
        cross_validated(lambda _: lambda other: found.append(other.tolist()) or torch.zeros(len(other), 1), 40, 1, seed)
        return found

    assert parts(3) == parts(3)
    assert parts(3) != parts(4)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_row_that_has_no_others_is_answered_by_itself(rows: int) -> None:
    found = cross_validated(lambda seen: lambda other: torch.ones(len(other), 2) * len(seen), rows, 2, 0)
    assert found.tolist() == [[1.0, 1.0]] * rows


def test_calibrated_by_the_rows_given() -> None:
    logits, targets = 5 * torch.randn(60, 4, generator=generator(0)), torch.arange(60) % 4
    weights = torch.rand(60, generator=generator(1))
    rows = torch.arange(40)
    found = calibrated(logits, Answers(targets, 4, weights))(rows)(torch.tensor([50, 3]))
    torch.testing.assert_close(found, logits[[50, 3]] / fit_temperature(logits[:40], targets[:40], weights[:40]))


def test_mean_loss() -> None:
    logits = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]).log()
    answers = Answers(torch.tensor([0, 0, 1]), 2, torch.tensor([1.0, 2.0, 1.0]))
    expected = -(torch.tensor([0.5, 0.9, 0.8]).log() * torch.tensor([1.0, 2.0, 1.0])).sum() / 4
    assert mean_loss(logits, answers) == pytest.approx(float(expected), rel=1e-6)
    assert mean_loss(logits[:0], answers.select(torch.arange(0))) == 0.0


# Ways to join


def held(leans: list[float], rows: int = 600, same: float = 0.0, seed: int = 0) -> Held:
    """Experts that lean so much to the right class; `same`: how much of their noise they share."""
    g = generator(seed)
    targets = torch.arange(rows) % CLASSES
    shared = torch.randn(rows, CLASSES, generator=g)
    noise = [same * shared + (1 - same**2) ** 0.5 * torch.randn(rows, CLASSES, generator=g) for _ in leans]
    said = [lean * F.one_hot(targets, CLASSES) + one for lean, one in zip(leans, noise, strict=True)]
    uniform = torch.full((CLASSES,), 1 / CLASSES).log()
    log_probs = F.log_softmax(torch.stack(said), 2)
    return Held(log_probs, uniform.expand(len(leans), -1), uniform, even(targets), [1.0] * len(leans))


ALONE, OTHER = Way("first", (0,)), Way("second", (1,))
MEAN, WEIGHTED = Way("mean", (0, 1)), Way("weighted", (0, 1), weighted=True)


@pytest.mark.parametrize(
    ("leans", "same", "ways", "best"),
    [
        ([2.0, 0.0], 0.0, [OTHER, MEAN, ALONE], ALONE),  # the other knows nothing
        ([0.0, 2.0], 0.0, [ALONE, MEAN, OTHER], OTHER),
        ([1.5, 1.5], 0.0, [ALONE, OTHER, WEIGHTED], WEIGHTED),  # independent: together they know more
        ([1.5, 1.5], 0.0, [ALONE, OTHER, MEAN], MEAN),
        ([1.5, 1.5], 0.0, [MEAN, WEIGHTED], WEIGHTED),  # and a product is what makes the most of it
    ],
)
def test_the_best_way_is_chosen(leans: list[float], same: float, ways: list[Way], best: Way) -> None:
    experts = held(leans, same=same)
    way, loss, logits = choose(experts, ways, seed=0)
    assert way == best
    assert loss == pytest.approx(mean_loss(logits, experts.answers), rel=1e-6)
    for other in ways:
        cross = cross_validated(experts.join(other), 600, CLASSES, 0)
        assert (mean_loss(cross, experts.answers) == pytest.approx(loss)) == (other == best)


def test_ways_by_hand() -> None:
    experts, rows, other = held([1.0, 2.0]), torch.arange(300), torch.arange(300, 310)
    part = experts.answers.select(rows)
    given = (part.targets, part.weights)
    exponents = fit_exponents(
        experts.log_probs[:, rows], experts.priors, experts.log_prior, given, torch.tensor([0.5, 0.5])
    )
    joined = {
        ALONE: experts.log_probs[0],
        MEAN: mean_pool(experts.log_probs),
        WEIGHTED: log_pool(experts.log_probs, experts.priors, exponents, experts.log_prior),
    }
    for way, expected in joined.items():
        temperature = fit_temperature(expected[rows], *given)
        torch.testing.assert_close(experts.join(way)(rows)(other), expected[other] / temperature)


# What was taught


def test_the_prior_of_training_is_the_mean_answer() -> None:
    """By weights; of rows that have the modality."""
    log_probs = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]]).log()
    taught = Taught(torch.tensor([0, 2]), Answers(torch.tensor([0, 1]), 2, torch.tensor([3.0, 1.0])), torch.zeros(2))
    expected = torch.tensor([(3 * 0.9 + 0.3) / 4, (3 * 0.1 + 0.7) / 4])
    torch.testing.assert_close(taught.prior(log_probs).exp(), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_prior_of_an_optimum_is_that_of_its_weights_and_smoothing(balanced: bool, smoothing: float) -> None:
    """100 : 10 : 1 rows; a free bias makes the mean answer the mean of what it was trained for."""
    targets = torch.cat([torch.full((count,), k) for k, count in enumerate((900, 90, 9))])
    counts = torch.bincount(targets).float()
    weights = (999 / (3 * counts))[targets] if balanced else torch.ones(999)
    features = torch.randn(999, 5, generator=generator(0)) + F.one_hot(targets, 5)
    design, answers = DenseDesign.of(features), Answers(targets, 3, weights, smoothing)
    found = solve(design, answers, 1e-4)
    logits = design.times(found.weight) + found.bias
    shares = torch.ones(3) / 3 if balanced else counts / 999
    expected = shares * (1 - smoothing) + smoothing / 3
    prior = Taught(torch.arange(999), answers, torch.zeros(3)).prior(F.log_softmax(logits, 1)).exp()
    torch.testing.assert_close(prior, expected, atol=2e-3, rtol=0)


# The head


def fits(g: torch.Generator, targets: Tensor, val: Tensor) -> list[ExpertFit]:
    found = []
    for lean in (1.0, 2.0, 0.5):
        weight = 2 * torch.randn(CLASSES, 3, generator=g)
        train, shown = (
            4 * (lean * F.one_hot(y, CLASSES) + torch.randn(len(y), CLASSES, generator=g)) for y in (targets, val)
        )
        state = {"bias": torch.randn(CLASSES, generator=g), "output.weight": weight}
        found.append(ExpertFit(ExpertSpec((len(found),)), state, train, shown))
    return found


WAYS = [Way("one", (1,)), Way("mean", (0, 2)), Way("weighted", (0, 1, 2), weighted=True)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_head_answers_as_the_way_does(way: Way) -> None:
    """Fitted to all held-out rows: its pool of what its experts say is the way's."""
    g = generator(2)
    targets, val = torch.arange(200) % CLASSES, torch.arange(120) % CLASSES
    found = fits(g, targets, val)
    log_prior = F.log_softmax(torch.randn(CLASSES, generator=g), 0)
    rows, known = torch.arange(0, 120, 2), torch.arange(150)
    taught = Taught(known, even(targets[known]), log_prior)
    experts = held_by(found, rows, even(val[rows]), taught)
    for number, (fit, calibration) in enumerate(zip(found, experts.calibrations, strict=True)):
        assert calibration == fit_calibration(fit.held_logits[rows], val[rows], log_prior)
        torch.testing.assert_close(experts.log_probs[number], calibration(fit.held_logits[rows], log_prior))
        trained = calibration(fit.train_logits[known], log_prior).exp().mean(0)
        torch.testing.assert_close(experts.priors[number].exp(), trained)
    shape = Shape({"text": tuple(Part(name, 3) for name in "abc")}, CLASSES)
    head = head_of(ModalityHead("text", [found[i].spec for i in way.experts], shape), way, experts, found, taught)
    assert not head.training
    said = head.pool(experts.log_probs[list(way.experts)])
    everything = torch.arange(60)
    torch.testing.assert_close(said, F.log_softmax(experts.join(way)(everything)(everything), 1), atol=1e-4, rtol=1e-4)
    assert (head.exponents.sum() == 0) == (way.name == "mean")
    # Its prior is its own mean answer on the rows it was trained on.
    numbers = list(way.experts)
    train = torch.stack([experts.calibrations[i](found[i].train_logits, log_prior) for i in numbers])
    torch.testing.assert_close(head.prior.exp(), head.pool(train)[known].exp().mean(0))
    # Its experts have their weights.
    features = {"text": torch.randn(7, 9, generator=g)}
    for place, number in enumerate(numbers):
        weight, bias = found[number].state["output.weight"], found[number].state["bias"]
        logits = features["text"][:, 3 * number : 3 * number + 3] @ weight.T + bias
        expected = experts.calibrations[number](logits, log_prior)
        torch.testing.assert_close(head.opinions(features)[place], expected)
    missing = head(features, {"text": torch.zeros(7, dtype=torch.bool)})
    assert torch.equal(missing, log_prior.expand(7, -1))
