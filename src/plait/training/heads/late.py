"""Late fusion of the heads of the modalities: fitted, and its kind chosen, on rows that none was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from plait.fusion.calibration import Calibration, fit_temperature
from plait.fusion.late import KINDS, LateFusion, Opinions, fit_late
from plait.fusion.modality import MODALITIES
from plait.training.heads.logistic import Answers
from plait.training.heads.loss import mean_loss
from plait.training.heads.modality import ModalityFit
from plait.training.heads.pools import Joined, calibrated, cross_validated
from plait.training.heads.task import TaskRows

Fits = Mapping[str, ModalityFit]


@dataclass(frozen=True)
class Shared:
    """Held-out rows that have both modalities: (R,) numbers, what each modality says of them, their answers."""

    rows: Tensor
    opinions: Opinions
    answers: Answers

    @classmethod
    def of(cls, rows: TaskRows, fits: Fits) -> Shared:
        inputs, answers = rows.held
        both = torch.stack([inputs.present[s] for s in MODALITIES]).all(0).nonzero()[:, 0]
        place = {s: torch.searchsorted(fit.held_rows, both) for s, fit in fits.items()}
        experts = {s: fit.held.log_probs[:, place[s]] for s, fit in fits.items()}
        with torch.no_grad():
            pooled = {s: fit.head.pool(experts[s]) for s, fit in fits.items()}
        return cls(both, Opinions(pooled, experts), answers.select(both))


@dataclass(frozen=True)
class Fusion:
    """A fitted fusion, its calibration, and its (R, K) cross-validated logits of rows that have both modalities."""

    module: torch.nn.Module
    calibration: Calibration
    rows: Tensor
    cross: Tensor


def candidates(val_seen: bool) -> tuple[str, ...]:
    """The kinds of late fusion that ``auto`` chooses from; without parameters where an encoder has seen the rows."""
    # Stacking has 2 K^2 parameters, and has never won on validation rows; it is there for who asks for it.
    return ("mean", "product") if val_seen else tuple(kind for kind in KINDS if kind != "stacking")


class LateFitter:
    """Fits late fusions of the heads of a task to the held-out rows that have both modalities."""

    def __init__(self, rows: TaskRows, fits: Fits, seed: int):
        self.rows, self.fits, self.seed = rows, fits, seed
        self.shared = Shared.of(rows, fits)

    def best(self, asked: str) -> tuple[str, Fusion]:
        """A kind of `KINDS` and its fusion; ``auto``: of those, the one with the least cross-validated loss."""
        shared = self.shared
        found = []
        for kind in candidates(self.rows.task.val_seen) if asked == "auto" else (asked,):
            cross = cross_validated(self._joining(kind), len(shared.rows), self.rows.task.classes, self.seed)
            found.append((mean_loss(cross, shared.answers), kind, cross))
        _, kind, cross = min(found, key=lambda one: one[0])
        fusion = self._fitted(kind, shared.opinions, shared.answers)
        with torch.no_grad():
            fused = fusion(shared.opinions)
        temperature = fit_temperature(fused, shared.answers.targets, shared.answers.weights)
        return kind, Fusion(fusion, Calibration(temperature), shared.rows, cross)

    def _joining(self, kind: str) -> Callable[[Tensor], Joined]:
        def fit(part: Tensor) -> Joined:
            fusion = self._fitted(kind, self.shared.opinions.rows(part), self.shared.answers.select(part))
            with torch.no_grad():
                fused = fusion(self.shared.opinions)
            return calibrated(fused, self.shared.answers)(part)

        return fit

    def _fitted(self, kind: str, opinions: Opinions, answers: Answers) -> LateFusion:
        """A fusion fitted to rows that neither head nor encoder was trained on; else to none."""
        heads = {s: self.fits[s].head for s in MODALITIES}
        fusion = LateFusion(kind, self.rows.task.classes, sum(len(heads[s].experts) for s in MODALITIES))
        fusion.prepare(heads, self.rows.log_prior)
        if not self.rows.task.val_seen:
            fit_late(fusion, opinions, (answers.targets, answers.weights))
        return fusion.eval()
