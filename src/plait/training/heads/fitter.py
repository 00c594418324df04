"""Fits the four models of a comparison to features; the heads of the modalities are fitted once and shared."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from plait.config import Config
from plait.encoders.pair import EncoderPair
from plait.fusion.early import EARLY, EarlyHead
from plait.fusion.modality import MODALITIES, Shape
from plait.fusion.model import Model
from plait.fusion.spec import HeadSpec, build_model, modalities_of
from plait.training.heads.early import EarlyFit, EarlyFitter, Trained, new_early
from plait.training.heads.late import Fits, Fusion, LateFitter
from plait.training.heads.loss import mean_loss
from plait.training.heads.modality import ModalityFit, fit_modality
from plait.training.heads.task import Task, TaskRows
from plait.training.seeds import Curve, seeded


@dataclass(frozen=True)
class FittedModel:
    """A trained and calibrated model, how to build it again, and how its training went.

    Attributes:
        val_loss: cross-entropy on held-out rows, cross-validated where fusions are fitted to those.
        scores: (V, K) weights of wide text features by the number of the part, which its encoders must have.
        encoders: those it was trained together with, or that have its scores; None for the ones all models share.
    """

    spec: HeadSpec
    head: Model
    curve: Curve
    seconds: float
    note: str
    val_loss: float
    scores: Mapping[int, Tensor] = field(default_factory=dict)
    encoders: EncoderPair | None = None


@dataclass
class Fitter:
    """Fits models one by one, keeping what they share."""

    task: Task
    config: Config
    device: torch.device | str = "cpu"
    _modalities: dict[str, ModalityFit] = field(default_factory=dict)

    def fit(self, model: str) -> FittedModel:
        """Fit ``image``, ``text``, ``late`` or ``early``."""
        if model in MODALITIES:
            fit = self.modality(model)
            return self._whole(model, _Training(fit.note, fit.fits[0].curve, fit.seconds))
        return self._fit_early() if model == "early" else self._fit_late()

    @cached_property
    def rows(self) -> TaskRows:
        """The rows of the task, weighed as configured."""
        return TaskRows(self.task, self.config.train)

    def modality(self, modality: str) -> ModalityFit:
        """The head of a modality."""
        if modality not in self._modalities:
            self._modalities[modality] = fit_modality(modality, self.rows, self.config, self.device)
        return self._modalities[modality]

    def shape(self, model: str) -> Shape:
        """Sizes of a model, with towers where the configured early fusion has them."""
        head = self.config.head
        known = self._modalities
        parts = {s: known[s].parts if s in known else self.rows.parts(s) for s in modalities_of(model)}
        sizes = EARLY[head.early].sizes(head) if model == "early" else {}
        return Shape(parts, self.task.classes, head.kind, head.hidden, head.dropout, **sizes)

    def new_early(self) -> EarlyHead:
        """An untrained head of the configured early fusion, to be trained elsewhere and given to `finish_early`."""
        return new_early(self.rows, self.shape("early"), self.config)

    def finish_early(self, trained: Trained, note: str) -> FittedModel:
        """A head from `new_early` after its training, calibrated on the held-out rows of the task."""
        return self._early(self._early_fitter().calibrate(trained, note), trained.seconds)

    def _early_fitter(self) -> EarlyFitter:
        fits = self._both()  # they answer where a row has but one
        return EarlyFitter(self.rows, fits, self.shape("early"), self.config, self.device)

    def _both(self) -> Fits:
        return {modality: self.modality(modality) for modality in MODALITIES}

    def _fit_late(self) -> FittedModel:
        fits = self._both()
        start = time.perf_counter()
        asked = self.config.head.late
        kind, fusion = LateFitter(self.rows, fits, self.config.seed).best(asked)
        note = f"{kind}, chosen on validation rows" if asked == "auto" else kind
        seconds = time.perf_counter() - start + sum(fit.seconds for fit in fits.values())
        return self._whole("late", _Training(note, [], seconds), fusion, late=kind)

    def _fit_early(self) -> FittedModel:
        fitter = self._early_fitter()
        start = time.perf_counter()
        best = fitter.best()
        # One that was kept took its time before.
        return self._early(best, max(best.seconds, time.perf_counter() - start))

    def _early(self, fit: EarlyFit, seconds: float) -> FittedModel:
        return self._whole("early", _Training(fit.note, fit.curve, seconds), fit.fusion)

    def _whole(
        self, model: str, training: _Training, fusion: Fusion | None = None, late: str = "product"
    ) -> FittedModel:
        """A model of the heads of its modalities and what joins them."""
        fits = {s: self.modality(s) for s in modalities_of(model)}
        experts = {s: fit.specs for s, fit in fits.items()}
        spec = HeadSpec(model, self.shape(model), experts, late, self.config.head.early)
        with seeded(self.config.seed):
            whole = build_model(spec)
        whole.log_prior = self.rows.log_prior
        for modality, fit in fits.items():
            whole.heads[modality].load_state_dict(fit.head.state_dict())
        if fusion is not None:
            assert whole.fusion is not None
            whole.fusion.load_state_dict(fusion.module.state_dict())
            found = fusion.calibration
            whole.temperature, whole.slope, whole.noise = (
                torch.tensor(value) for value in (found.temperature, found.slope, found.noise)
            )
        scores = {i: w for fit in fits.values() for one in fit.fits for i, w in one.scores.items()}
        loss = self._loss(fits, fusion)
        return FittedModel(spec, whole.eval(), training.curve, training.seconds, training.note, loss, scores)

    def _loss(self, fits: Fits, fusion: Fusion | None) -> float:
        """Mean loss on the held-out rows, by what each has: cross-validated logits of modalities and of the fusion."""
        inputs, answers = self.rows.held
        found = self.rows.log_prior.expand(len(inputs), -1).clone()
        for fit in fits.values():
            found[fit.held_rows] = fit.cross
        if fusion is not None:
            found[fusion.rows] = fusion.cross
        return mean_loss(found, answers)


@dataclass(frozen=True)
class _Training:
    """How a model was trained, in words, by epoch, and in seconds."""

    note: str
    curve: Curve
    seconds: float
