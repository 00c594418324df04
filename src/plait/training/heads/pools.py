"""From the experts of a modality to its head: which of them, joined how, chosen on rows that none was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plait.fusion.calibration import Calibration, fit_calibration, fit_temperature
from plait.fusion.modality import ModalityHead
from plait.fusion.pool import fit_exponents, log_pool, mean_pool
from plait.training.heads.experts import ExpertFit
from plait.training.heads.logistic import Answers
from plait.training.heads.loss import mean_loss

PARTS = 5  # of the cross-validation that chooses between ways to join
Joined = Callable[[Tensor], Tensor]  # row numbers -> (R, K) logits


def cross_validated(fit: Callable[[Tensor], Joined], rows: int, classes: int, seed: int) -> Tensor:
    """(R, K) logits of each row, by what was fitted to the other parts of the rows.

    Args:
        fit: takes row numbers, returns what gives the logits of row numbers.
    """
    if rows < 2:
        return fit(torch.arange(rows))(torch.arange(rows))
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    found = torch.zeros(rows, classes)
    for part in order.chunk(min(PARTS, rows)):
        rest = torch.ones(rows, dtype=torch.bool)
        rest[part] = False
        found[part] = fit(rest.nonzero()[:, 0])(part)
    return found


def calibrated(logits: Tensor, answers: Answers, log_prior: Tensor | None = None) -> Callable[[Tensor], Joined]:
    """Temperature scaling of (R, K) logits for `cross_validated`; with (K,) `log_prior` calibration of every kind."""

    def fit(rows: Tensor) -> Joined:
        part = answers.select(rows)
        if log_prior is not None:
            found = fit_calibration(logits[rows], part.targets, log_prior, part.weights)
            return lambda other: found(logits[other], log_prior)
        temperature = fit_temperature(logits[rows], part.targets, part.weights)
        return lambda other: logits[other] / temperature

    return fit


@dataclass(frozen=True)
class Way:
    """A way to join experts: which, by number, and their exponents from row numbers; None: the arithmetic mean."""

    name: str
    experts: tuple[int, ...]
    weighted: bool = False


@dataclass(frozen=True)
class Held:
    """What E experts say of R rows that they were not trained on, calibrated one by one.

    Attributes:
        log_probs: (E, R, K). priors: (E, K). log_prior: (K,). answers: of the R rows.
        calibrations: of each expert.
    """

    log_probs: Tensor
    priors: Tensor
    log_prior: Tensor
    answers: Answers
    calibrations: list[Calibration]

    def join(self, way: Way) -> Callable[[Tensor], Joined]:
        """Fit a way to rows, its temperature too."""
        numbers = list(way.experts)
        said, priors = self.log_probs[numbers], self.priors[numbers]

        def fit(rows: Tensor) -> Joined:
            if way.weighted:
                exponents = self.exponents(way, rows)
                joined = log_pool(said, priors, exponents, self.log_prior)
            else:
                joined = mean_pool(said) if len(numbers) > 1 else said[0]
            return calibrated(joined, self.answers)(rows)

        return fit

    def exponents(self, way: Way, rows: Tensor) -> Tensor:
        numbers = list(way.experts)
        part = self.answers.select(rows)
        start = torch.full((len(numbers),), 1 / len(numbers))
        answers = (part.targets, part.weights)
        return fit_exponents(self.log_probs[numbers][:, rows], self.priors[numbers], self.log_prior, answers, start)


@dataclass(frozen=True)
class Taught:
    """The training rows that have a modality: their numbers and answers, and the (K,) log class shares of all rows."""

    rows: Tensor
    answers: Answers
    log_prior: Tensor

    def prior(self, log_probs: Tensor) -> Tensor:
        """(N, K) of all training rows -> (K,) log class shares that the answers were trained with.

        By the law of total probability: what balanced weights and label smoothing made of them, too.
        """
        share = (self.answers.weights / self.answers.weights.sum())[:, None]
        return (share * log_probs[self.rows].exp()).sum(0).clamp_min(1e-8).log()


def held_by(fits: Sequence[ExpertFit], rows: Tensor, answers: Answers, taught: Taught) -> Held:
    """Calibrate experts on held-out rows: (R,) their numbers, those that have the modality, and their answers."""
    said, priors, calibrations = [], [], []
    for fit in fits:
        logits = fit.held_logits[rows]
        calibration = fit_calibration(logits, answers.targets, taught.log_prior, answers.weights)
        said.append(calibration(logits, taught.log_prior))
        priors.append(taught.prior(calibration(fit.train_logits, taught.log_prior)))
        calibrations.append(calibration)
    return Held(torch.stack(said), torch.stack(priors), taught.log_prior, answers, calibrations)


def choose(held: Held, ways: Sequence[Way], seed: int) -> tuple[Way, float, Tensor]:
    """The way with the least cross-validated loss, that loss, and its cross-validated logits (R, K)."""
    rows, classes = held.log_probs.shape[1:]
    found = []
    for way in ways:
        logits = cross_validated(held.join(way), rows, classes, seed)
        found.append((way, mean_loss(logits, held.answers), logits))
    return min(found, key=lambda one: one[1])


def head_of(head: ModalityHead, way: Way, held: Held, fits: Sequence[ExpertFit], taught: Taught) -> ModalityHead:
    """Fill an untrained head of the experts of a way, calibrated on the held-out rows."""
    numbers = list(way.experts)
    for expert, number in zip(head.experts, numbers, strict=True):
        expert.load_state_dict(fits[number].state, strict=False)
    head.temperatures = torch.tensor([held.calibrations[i].temperature for i in numbers])
    head.slopes = torch.tensor([held.calibrations[i].slope for i in numbers])
    head.noises = torch.tensor([held.calibrations[i].noise for i in numbers])
    head.priors, head.log_prior = held.priors[numbers], held.log_prior
    if len(numbers) > 1:
        everything = torch.arange(len(held.answers.targets))
        head.exponents = held.exponents(way, everything) if way.weighted else torch.zeros(len(numbers))
    pooled = head.pool(held.log_probs[numbers])
    head.temperature = torch.tensor(fit_temperature(pooled, held.answers.targets, held.answers.weights))
    head.prior = taught.prior(head.pool(head.calibrated(torch.stack([fits[i].train_logits for i in numbers]))))
    return head.eval()
