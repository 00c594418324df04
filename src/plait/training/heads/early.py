"""Early fusion: its head trained with modalities hidden, and calibrated on rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from plait.config import Config
from plait.fusion.calibration import fit_calibration
from plait.fusion.early import EARLY, EarlyHead
from plait.fusion.inputs import logits
from plait.fusion.modality import Shape
from plait.fusion.spec import early_head
from plait.training.heads.descent import Copies, train
from plait.training.heads.folds import folds_of
from plait.training.heads.late import Fits, Fusion, Shared
from plait.training.heads.loss import mean_loss
from plait.training.heads.pools import calibrated, cross_validated
from plait.training.heads.practice import Practice
from plait.training.heads.task import TaskRows
from plait.training.seeds import Curve, seeded

EXCESS = 0.05  # share of its accuracy that a modality loses on new rows, from which features are swapped in training


@dataclass(frozen=True)
class EarlyFit:
    """A trained and calibrated early head, the loss of its cross-validated logits, and how it was trained."""

    fusion: Fusion
    loss: float
    note: str
    curve: Curve
    seconds: float


@dataclass(frozen=True)
class Trained:
    """An early head after its training.

    Attributes:
        oof: (N, K) out-of-fold logits of the training rows, where they are held out in turn; else None.
        swapped: share of the rows that got another row's features, by modality.
    """

    head: nn.Module
    curve: Curve
    seconds: float
    oof: Tensor | None = None
    swapped: Mapping[str, float] = field(default_factory=dict)


def new_early(rows: TaskRows, shape: Shape, config: Config) -> EarlyHead:
    """An untrained head of the configured early fusion: seeded weights, statistics and prior of the training rows.

    Raises:
        ConfigError: HUSE's towers end in different widths.
    """
    with seeded(config.seed):
        head = early_head(config.head.early, shape)
    head.prepare(rows.task.train.features, rows.task.train.present, rows.log_prior)
    head.begin(config.head, rows.task.class_vectors)
    return head


@dataclass(frozen=True)
class EarlyFitter:
    """Trains early heads of one shape on the rows of a task."""

    rows: TaskRows
    fits: Fits
    shape: Shape
    config: Config
    device: torch.device | str = "cpu"

    def best(self) -> EarlyFit:
        """Trained as it is, and where an encoder has seen the training rows, with features swapped: the better one."""
        swaps: list[dict[str, float]] = [{}]
        excess = {s: self.fits[s].excess(self.rows) for s in sorted(self.rows.task.seen)}
        if excess := {s: share for s, share in excess.items() if share > EXCESS}:
            swaps.append(excess)
        # By the loss after calibration, as `late` chooses: before it, a mean of probabilities looks too unsure.
        return min((self.calibrate(self._trained(swap)) for swap in swaps), key=lambda one: one.loss)

    def _trained(self, swap: dict[str, float]) -> Trained:
        """A head trained with modalities hidden, and with the features of some rows swapped."""
        kept = self.rows.task.kept
        if kept is None:
            return self._train(swap)
        found = kept.get(self._known_by(swap), lambda: _packed(self._train(swap)))
        head, tensors = new_early(self.rows, self.shape, self.config), dict(found.tensors)
        oof = tensors.pop("out of fold", None)
        head.load_state_dict(tensors)
        return Trained(head.eval(), found.facts["curve"], found.seconds, oof, swap)

    def _known_by(self, swap: dict[str, float]) -> dict[str, Any]:
        """All that the outcome of a training depends on."""
        task, config = self.rows.task, self.config
        answers = [self.rows.answers, self.rows.as_shared(task.val_targets)]
        folds = task.folds if self.rows.cross_fits else None
        settings = [config.head, config.train, config.seed, self.shape.dims, swap, str(self.device)]
        return {
            "early": settings, "train": task.train, "val": task.val, "answers": answers, "folds": folds,
            "classes": task.class_vectors, "prior": self.rows.log_prior,
        }  # fmt: skip

    def _train(self, swap: dict[str, float]) -> Trained:
        rows, task = self.rows, self.rows.task
        folds = folds_of(task.folds) if rows.cross_fits else []
        heads = [new_early(rows, self.shape, self.config) for _ in range(1 + len(folds))]
        every = torch.ones_like(task.targets, dtype=torch.bool)
        keep = torch.stack([every, *(task.folds != fold.number for fold in folds)])
        fitted = train(
            Copies(heads, Practice(self.config.head.modality_dropout, swap)),
            (task.train, rows.answers), (task.val, rows.as_shared(task.val_targets)), self.config.train,
            keep=keep, seed=self.config.seed, device=self.device, label="early",
        )  # fmt: skip
        oof = torch.zeros(len(task.targets), task.classes) if folds else None
        for fold, head in zip(folds, heads[1:], strict=True):
            oof[fold.test] = logits(head, task.train.rows(fold.test))  # type: ignore[index]
        return Trained(heads[0], fitted.curve, fitted.seconds, oof, swap)

    def calibrate(self, trained: Trained, note: str = "") -> EarlyFit:
        """A trained head, calibrated on the held-out rows of the task that have both modalities."""
        found, oof = logits(trained.head, self.rows.task.val), trained.oof
        shared = Shared.of(self.rows, self.fits)
        both, answers = shared.rows, shared.answers
        if self.rows.cross_fits and oof is None:
            # Without out-of-fold logits, as after a joint training, the validation rows alone count.
            both = both[both < len(found)]
            answers = self.rows.held[1].select(both)
        fused = (found if oof is None else torch.cat([found, oof]))[both]
        prior = self.rows.log_prior
        cross = cross_validated(calibrated(fused, answers, prior), len(both), len(prior), self.config.seed)
        fusion = Fusion(trained.head, fit_calibration(fused, answers.targets, prior, answers.weights), both, cross)
        return EarlyFit(
            fusion, mean_loss(cross, answers), note or self._note(trained.swapped), trained.curve, trained.seconds
        )

    def _note(self, swapped: Mapping[str, float]) -> str:
        note = EARLY[self.config.head.early].note
        if swapped:
            note += "; " + ", ".join(f"{share:.0%} of {s} features swapped in training" for s, share in swapped.items())
        return note


def _packed(trained: Trained) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a training and its curve."""
    tensors = dict(trained.head.state_dict())
    return tensors | ({} if trained.oof is None else {"out of fold": trained.oof}), {"curve": trained.curve}
