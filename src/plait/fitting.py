"""Fits the four models of a comparison to features; strand heads are trained once and shared by late fusion."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.config import Config, HuseConfig, TowersConfig
from plait.encoders.pair import EncoderPair
from plait.fusion.batch import Strands, logits
from plait.fusion.build import Early, HeadSpec, build, early_head
from plait.fusion.calibration import Calibrated, fit_temperature
from plait.fusion.huse import HuseHead
from plait.fusion.late import KINDS, LateFusion, LateHead, fit_late
from plait.fusion.practice import Practice
from plait.fusion.strand import STRANDS, Shape, StrandHead, prior
from plait.loop import Curve, seeded
from plait.objectives.huse import class_distances
from plait.training import Copies, train

Head = TypeVar("Head", bound=StrandHead | Early)
EARLY_NOTES = {"mlp": "concatenation MLP", "towers": "towers", "huse": "HUSE"}


@dataclass(frozen=True)
class Task:
    """What heads are fitted to.

    Attributes:
        train: N rows. targets: (N,) int64. folds: (N,) int64, the fold of each row.
        val: M rows that choose epochs, temperatures and kinds of fusion. val_targets: (M,) int64.
        classes: K.
        seen: strands whose encoder was itself trained on the rows of `train`.
        val_seen: an encoder was itself trained on a good part of the rows of `val`.
        class_vectors: (K, D) embeddings of the class names, for HUSE; None: all classes equally far from one another.
    """

    train: Strands
    targets: Tensor
    folds: Tensor
    val: Strands
    val_targets: Tensor
    classes: int
    seen: frozenset[str] = frozenset()
    val_seen: bool = False
    class_vectors: Tensor | None = None


@dataclass(frozen=True)
class FittedModel:
    """A trained and calibrated head, how to build it again, and how its training went.

    Attributes:
        encoders: those it was trained together with; None for the ones all models share.
    """

    spec: HeadSpec
    head: Calibrated
    curve: Curve
    seconds: float
    note: str
    val_loss: float
    encoders: EncoderPair | None = None


@dataclass(frozen=True)
class _StrandFit:
    head: StrandHead
    curve: Curve
    seconds: float
    temperature: float
    val_logits: Tensor
    oof_logits: Tensor


@dataclass
class Fitter:
    """Fits models one by one, keeping what they share."""

    task: Task
    config: Config
    device: torch.device | str = "cpu"
    _strands: dict[str, _StrandFit] = field(default_factory=dict)

    @property
    def shape(self) -> Shape:
        """Sizes of every head, with towers where the configured early fusion has them."""
        dims = {strand: x.shape[1] for strand, x in self.task.train.features.items()}
        head = self.config.head
        sections: dict[str, TowersConfig | HuseConfig] = {"towers": head.towers, "huse": head.huse}
        section = sections.get(head.early)
        towers = {"image": section.image, "text": section.text} if section else {}
        dropout = head.huse.dropout if head.early == "huse" else 0.0
        return Shape(dims, self.task.classes, head.kind, head.hidden, head.dropout, towers, dropout)

    def fit(self, model: str) -> FittedModel:
        """Fit ``image``, ``text``, ``late`` or ``early``."""
        if model in STRANDS:
            return self._fit_strand(model)
        return self._fit_early() if model == "early" else self._fit_late()

    def _fit_strand(self, strand: str) -> FittedModel:
        fit = self._strand(strand)
        note = f"{self.config.head.kind} head on {strand} features"
        return self._finish(HeadSpec(strand, self.shape), fit.head, fit.curve, fit.seconds, note)

    def _fit_late(self) -> FittedModel:
        fits = {strand: self._strand(strand) for strand in STRANDS}
        start = time.perf_counter()
        asked = self.config.head.late
        options = [self._late(kind) for kind in (self._candidates() if asked == "auto" else (asked,))]
        fusion = min(options, key=self._late_loss)
        how = ", chosen on validation rows" if asked == "auto" else ""
        seconds = time.perf_counter() - start + sum(fit.seconds for fit in fits.values())
        head = LateHead({strand: fit.head for strand, fit in fits.items()}, fusion)
        return self._finish(HeadSpec("late", self.shape, fusion.kind), head, [], seconds, f"{fusion.kind}{how}")

    def _fit_early(self) -> FittedModel:
        start = time.perf_counter()
        swaps: list[dict[str, float]] = [{}]
        if excess := {s: share for s in sorted(self.task.seen) if (share := self._excess(s)) > 0.05}:
            swaps.append(excess)
        # By the loss after calibration, as `late` chooses: before it, a mean of probabilities looks too unsure.
        best = min((self._practised(swap) for swap in swaps), key=lambda model: model.val_loss)
        return replace(best, seconds=time.perf_counter() - start)

    def _practised(self, swap: dict[str, float]) -> FittedModel:
        """Early fusion trained with rows hidden, and with features swapped by these shares."""
        head = self.new_early()
        fitted = train(
            Copies([head], Practice(self.config.head.strand_dropout, swap)),
            *self._data(),
            self.config.train,
            seed=self.config.seed,
            device=self.device,
            label="early",
        )
        note = EARLY_NOTES[self.config.head.early]
        if swap:
            note += "; " + ", ".join(f"{share:.0%} of {s} features swapped in training" for s, share in swap.items())
        return self.finish_early(head, fitted.curve, fitted.seconds, note)

    def new_early(self) -> Early:
        """An untrained head of the configured early fusion: seeded weights, statistics and prior of the training rows.

        Raises:
            ConfigError: HUSE's towers end in different widths.
        """
        head = self._new(lambda: early_head(self.config.head.early, self.shape))
        if isinstance(head, HuseHead):
            huse, vectors = self.config.head.huse, self.task.class_vectors
            head.graph, head.gap, head.margin = huse.graph, huse.gap, huse.margin
            head.class_distance = class_distances(torch.eye(self.task.classes) if vectors is None else vectors)
        return head

    def finish_early(self, head: torch.nn.Module, curve: Curve, seconds: float, note: str) -> FittedModel:
        """A trained head from `new_early`, calibrated on the validation features of the task."""
        spec = HeadSpec("early", self.shape, early=self.config.head.early)
        return self._finish(spec, head, curve, seconds, note)

    def _strand(self, strand: str) -> _StrandFit:
        """Train a strand head, and copies of it that each leave one fold out."""
        if strand in self._strands:
            return self._strands[strand]
        task, count = self.task, self.config.head.folds
        heads = [self._new(lambda: StrandHead(strand, self.shape)) for _ in range(count + 1)]
        keep = torch.stack([torch.ones_like(task.folds, dtype=torch.bool), *(task.folds != k for k in range(count))])
        fitted = train(
            Copies(heads),
            *self._data(),
            self.config.train,
            keep=keep,
            seed=self.config.seed,
            device=self.device,
            label=strand,
        )
        oof = torch.zeros(len(task.targets), task.classes)
        for k, head in enumerate(heads[1:]):
            rows = (task.folds == k).nonzero()[:, 0]
            oof[rows] = logits(head, task.train.rows(rows))
        val = logits(heads[0], task.val)
        fit = _StrandFit(heads[0], fitted.curve, fitted.seconds, fit_temperature(val, task.val_targets), val, oof)
        self._strands[strand] = fit
        return fit

    def _new(self, make: Callable[[], Head]) -> Head:
        """A head with seeded weights, standardisation and prior from the training rows."""
        with seeded(self.config.seed):
            head = make()
        head.prepare(self.task.train.features, self.task.train.present, prior(self.task.targets, self.task.classes))
        return head

    def _data(self) -> tuple[tuple[Strands, Tensor], tuple[Strands, Tensor]]:
        return (self.task.train, self.task.targets), (self.task.val, self.task.val_targets)

    def _candidates(self) -> tuple[str, ...]:
        # With an encoder that has seen the training rows, parameters are fitted to the validation rows, which then
        # cannot also choose between kinds that have parameters and kinds that have none.
        return ("mean", "product") if self.task.seen else KINDS

    def _late(self, kind: str) -> LateFusion:
        """Late fusion of one kind, fitted to logits of rows that neither head nor encoder was trained on."""
        fusion = LateFusion(kind, self.task.classes)
        fusion.log_prior = prior(self.task.targets, self.task.classes)
        fusion.temperature = torch.tensor([self._strands[s].temperature for s in STRANDS])
        if self.task.seen:
            unseen = {s: self._strands[s].val_logits for s in STRANDS}
            fit_late(fusion, unseen, self.task.val.present, self.task.val_targets)
        else:
            unseen = {s: self._strands[s].oof_logits for s in STRANDS}
            fit_late(fusion, unseen, self.task.train.present, self.task.targets)
        return fusion

    def _late_loss(self, fusion: LateFusion) -> float:
        """Cross-entropy on the validation rows at the best temperature."""
        with torch.inference_mode():
            out = fusion({s: self._strands[s].val_logits for s in STRANDS}, self.task.val.present)
        return F.cross_entropy(out / fit_temperature(out, self.task.val_targets), self.task.val_targets).item()

    def _excess(self, strand: str) -> float:
        """How much worse a strand does on new rows than on those its encoder has seen, as a share of the latter."""
        fit = self._strand(strand)
        known = (logits(fit.head, self.task.train).argmax(1) == self.task.targets).float().mean().item()
        new = (fit.val_logits.argmax(1) == self.task.val_targets).float().mean().item()
        return max(0.0, 1 - new / max(known, 1e-6))

    def _finish(self, spec: HeadSpec, head: torch.nn.Module, curve: Curve, seconds: float, note: str) -> FittedModel:
        """Calibrate on the validation rows."""
        with seeded(self.config.seed):
            calibrated = build(spec)
        calibrated.head.load_state_dict(head.state_dict())
        calibrated.fit(logits(calibrated.head, self.task.val), self.task.val_targets)
        out = logits(calibrated, self.task.val)
        return FittedModel(
            spec, calibrated.eval(), curve, seconds, note, F.cross_entropy(out, self.task.val_targets).item()
        )
