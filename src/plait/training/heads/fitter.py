"""Fits the four models of a comparison to features; the heads of the modalities are fitted once and shared."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from plait.config import Config
from plait.encoders.pair import EncoderPair
from plait.fusion.calibration import fit_temperature
from plait.fusion.early import EARLY, EarlyHead
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.late import KINDS, LateFusion, Opinions, fit_late
from plait.fusion.modality import MODALITIES, ExpertSpec, ModalityHead, Part, Shape, prior
from plait.fusion.model import Model
from plait.fusion.spec import HeadSpec, build_model, early_head
from plait.training.heads.descent import Copies, train
from plait.training.heads.experts import ExpertFit, Rows, SparseRows, fit_linear, fit_mlp, heard_elsewhere
from plait.training.heads.logistic import Answers
from plait.training.heads.pools import (
    Held,
    Taught,
    Way,
    calibrated,
    choose,
    cross_validated,
    head_of,
    held_by,
    mean_loss,
)
from plait.training.heads.practice import Practice
from plait.training.seeds import Curve, seeded

MOST = 10.0  # weight of a held-out row, of the average, at most
CROSS_FIT = 2000  # training rows, up to which every row is held out once: few validation rows say too little


@dataclass(frozen=True)
class Task:
    """What heads are fitted to.

    Attributes:
        train: N rows. targets: (N,) int64. folds: (N,) int64, the fold of each row.
        val: M rows that choose epochs, L2 strengths, temperatures and kinds of fusion. val_targets: (M,) int64.
        classes: K.
        seen: modalities whose encoder was itself trained on the rows of `train`.
        val_seen: an encoder was itself trained on a good part of the rows of `val`: nothing is fitted to them but
            temperatures.
        class_vectors: (K, D) embeddings of the class names, for HUSE; None: all classes equally far from one another.
        parts: the dense columns of each modality by encoder; empty: one encoder each.
        sparse: wide features of the text that only linear heads read, by the number of the part.
    """

    train: HeadInputs
    targets: Tensor
    folds: Tensor
    val: HeadInputs
    val_targets: Tensor
    classes: int
    seen: frozenset[str] = frozenset()
    class_vectors: Tensor | None = None
    val_seen: bool = False
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    sparse: Mapping[int, SparseRows] = field(default_factory=dict)


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


@dataclass(frozen=True)
class _ModalityFit:
    """The head of a modality, and what its experts say of the held-out rows that have the modality."""

    head: ModalityHead
    specs: tuple[ExpertSpec, ...]
    parts: tuple[Part, ...]
    held: Held
    held_rows: Tensor
    cross: Tensor  # (R, K) cross-validated logits
    fits: list[ExpertFit]
    note: str
    seconds: float


@dataclass
class Fitter:
    """Fits models one by one, keeping what they share."""

    task: Task
    config: Config
    device: torch.device | str = "cpu"
    _modalities: dict[str, _ModalityFit] = field(default_factory=dict)

    def fit(self, model: str) -> FittedModel:
        """Fit ``image``, ``text``, ``late`` or ``early``."""
        if model in MODALITIES:
            return self._fit_modality(model)
        return self._fit_early() if model == "early" else self._fit_late()

    @cached_property
    def answers(self) -> Answers:
        """Classes of the training rows and their weights, which are equal or balance the classes."""
        return self._weighed(self.task.targets, self.smoothing)

    @property
    def smoothing(self) -> float:
        """Of linear heads: none unless it is asked for, for their probabilities are calibrated as they are."""
        return self.config.train.label_smoothing or 0.0

    @cached_property
    def log_prior(self) -> Tensor:
        """(K,) log class shares of the training rows as they are weighed: what a row with nothing to read gets."""
        return prior(self.task.targets, self.task.classes, self.answers.weights)

    @cached_property
    def cross_fits(self) -> bool:
        """Whether training rows are held out in turn, because there are few; not those that an encoder has seen."""
        return len(self.task.targets) <= CROSS_FIT and not self.task.seen

    @cached_property
    def held(self) -> tuple[HeadInputs, Answers]:
        """Rows that no head is trained on: validation rows, and in a cross-fit the training rows behind them."""
        task, answers = self.task, self._as_shared(self.task.val_targets)
        if not self.cross_fits:
            return task.val, answers
        features = {s: torch.cat([x, task.train.features[s]]) for s, x in task.val.features.items()}
        present = {s: torch.cat([x, task.train.present[s]]) for s, x in task.val.present.items()}
        targets = torch.cat([task.val_targets, task.targets])
        answers = self._as_shared(targets)
        # A class that one fold has alone is new to whoever has not seen that fold, but not to the model.
        heard = torch.cat(
            [torch.ones_like(task.val_targets, dtype=torch.bool), heard_elsewhere(task.targets, task.folds)]
        )
        return HeadInputs(features, present), replace(answers, weights=answers.weights * heard)

    def _weighed(self, targets: Tensor, smoothing: float = 0.0) -> Answers:
        """Answers whose weights are equal, or balance the classes."""
        weights = torch.ones(len(targets))
        if self.config.train.class_weights == "balanced":
            counts = torch.bincount(self.task.targets, minlength=self.task.classes).clamp_min(1)
            weights = (len(self.task.targets) / (self.task.classes * counts.float()))[targets]
        return Answers(targets, self.task.classes, weights, smoothing)

    def _as_shared(self, targets: Tensor) -> Answers:
        """Answers of held-out rows, weighted so that each class has the share that it has of all rows.

        A draw holds out a row of every class that has two, and so too many of the rare ones, which are the hardest.
        """
        task, answers = self.task, self._weighed(targets)
        counts = [
            torch.bincount(some, minlength=task.classes).float() for some in (task.targets, task.val_targets, targets)
        ]
        wanted = (counts[0] + counts[1]) / counts[2].clamp_min(1)
        wanted = (wanted / (wanted[targets].mean() if len(targets) else 1)).clamp_max(MOST)
        return replace(answers, weights=answers.weights * wanted[targets])

    def shape(self, model: str) -> Shape:
        """Sizes of a model, with towers where the configured early fusion has them."""
        head = self.config.head
        parts = {
            s: self._modalities[s].parts if s in self._modalities else self._parts(s) for s in self.task.train.features
        }
        if model in MODALITIES:
            parts = {model: parts[model]}
        sizes = EARLY[head.early].sizes(head) if model == "early" else {}
        return Shape(parts, self.task.classes, head.kind, head.hidden, head.dropout, **sizes)

    def _parts(self, modality: str) -> tuple[Part, ...]:
        """The parts of a modality as they are before any scores."""
        return self.task.parts.get(modality) or (Part(modality, self.task.train.features[modality].shape[1]),)

    # One modality

    def _modality(self, modality: str) -> _ModalityFit:
        """Fit the experts of a modality, choose among them, and join them."""
        if modality in self._modalities:
            return self._modalities[modality]
        start = time.perf_counter()
        task, kind = self.task, self.config.head.kind
        modalities, answers = self.held
        known = task.train.present[modality].nonzero()[:, 0]
        rows = Rows(
            task.train, task.val, self.answers, self._as_shared(task.val_targets),
            task.folds if self.cross_fits else None, task.sparse if modality == "text" else {},
        )  # fmt: skip
        taught = Taught(known, self.answers.select(known), self.log_prior)
        shape = replace(self.shape(modality), parts={modality: self._parts(modality)})
        if kind == "mlp":
            fits, ways = [fit_mlp(modality, shape, rows, self.config, self.device)], [Way("mlp", (0,))]
        else:
            fits, ways = _linear_experts(modality, shape, rows)
        held_rows = modalities.present[modality].nonzero()[:, 0]
        held = held_by(fits, held_rows, answers.select(held_rows), taught)
        way, _, cross = choose(held, ways, self.config.seed)
        specs = tuple(fits[i].spec for i in way.experts)
        scored = {number for spec in specs for number in spec.scores}
        parts = tuple(
            replace(p, scores=task.classes if i in scored else 0) for i, p in enumerate(self._parts(modality))
        )
        with seeded(self.config.seed):
            head = ModalityHead(modality, specs, replace(shape, parts={modality: parts}))
        head = head_of(head, way, held, fits, taught)
        chosen = replace(held, log_probs=held.log_probs[list(way.experts)])
        note = f"{kind} head on {modality} features" if len(ways) == 1 else way.name
        self._modalities[modality] = _ModalityFit(
            head, specs, parts, chosen, held_rows, cross, [fits[i] for i in way.experts], note,
            time.perf_counter() - start,
        )  # fmt: skip
        return self._modalities[modality]

    def _fit_modality(self, modality: str) -> FittedModel:
        fit = self._modality(modality)
        return self._finish(modality, None, self._losses({modality: fit}), fit.note, fit.fits[0].curve, fit.seconds)

    # Late fusion

    def _fit_late(self) -> FittedModel:
        fits = {modality: self._modality(modality) for modality in MODALITIES}
        start = time.perf_counter()
        asked = self.config.head.late
        both, opinions, answers = self._shared(fits)
        kinds = self._candidates() if asked == "auto" else (asked,)
        found = []
        for kind in kinds:

            def fit(rows: Tensor, kind: str = kind) -> object:
                fusion = self._late(kind, opinions.rows(rows), answers.select(rows))
                with torch.no_grad():
                    fused = fusion(opinions)
                return calibrated(fused, answers)(rows)

            cross = cross_validated(fit, len(both), self.task.classes, self.config.seed)  # type: ignore[arg-type]
            found.append((mean_loss(cross, answers), kind, cross))
        _, kind, cross = min(found, key=lambda one: one[0])
        fusion = self._late(kind, opinions, answers)
        with torch.no_grad():
            fused = fusion(opinions)
        how = ", chosen on validation rows" if asked == "auto" else ""
        seconds = time.perf_counter() - start + sum(fit.seconds for fit in fits.values())
        losses = self._losses(fits, both, cross)
        temperature = fit_temperature(fused, answers.targets, answers.weights)
        return self._finish("late", (fusion, temperature), losses, f"{kind}{how}", [], seconds, late=kind)

    def _candidates(self) -> tuple[str, ...]:
        # Stacking has 2 K^2 parameters, and has never won on validation rows; it is there for who asks for it.
        return ("mean", "product") if self.task.val_seen else tuple(kind for kind in KINDS if kind != "stacking")

    def _shared(self, fits: Mapping[str, _ModalityFit]) -> tuple[Tensor, Opinions, Answers]:
        """Held-out rows that have both modalities: their numbers, what each says of them, and their answers."""
        modalities, answers = self.held
        both = torch.stack([modalities.present[s] for s in MODALITIES]).all(0).nonzero()[:, 0]
        place = {s: torch.searchsorted(fit.held_rows, both) for s, fit in fits.items()}
        experts = {s: fit.held.log_probs[:, place[s]] for s, fit in fits.items()}
        with torch.no_grad():
            pooled = {s: fit.head.pool(experts[s]) for s, fit in fits.items()}
        return both, Opinions(pooled, experts), answers.select(both)

    def _late(self, kind: str, opinions: Opinions, answers: Answers) -> LateFusion:
        """Late fusion of one kind, fitted to rows that neither head nor encoder was trained on; else to none."""
        heads = {s: self._modalities[s].head for s in MODALITIES}
        fusion = LateFusion(kind, self.task.classes, sum(len(heads[s].experts) for s in MODALITIES))
        fusion.prepare(heads, self.log_prior)
        if not self.task.val_seen:
            fit_late(fusion, opinions, (answers.targets, answers.weights))
        return fusion.eval()

    # Early fusion

    def _fit_early(self) -> FittedModel:
        for modality in MODALITIES:
            self._modality(modality)  # they answer where a row has but one
        start = time.perf_counter()
        swaps: list[dict[str, float]] = [{}]
        if excess := {s: share for s in sorted(self.task.seen) if (share := self._excess(s)) > 0.05}:
            swaps.append(excess)
        # By the loss after calibration, as `late` chooses: before it, a mean of probabilities looks too unsure.
        best = min((self._practised(swap) for swap in swaps), key=lambda model: model.val_loss)
        return replace(best, seconds=time.perf_counter() - start)

    def _practised(self, swap: dict[str, float]) -> FittedModel:
        """Early fusion trained with modalities hidden, and with the features of some rows swapped."""
        task = self.task
        folds = sorted(set(task.folds.tolist())) if self.cross_fits else []
        heads = [self.new_early() for _ in range(1 + len(folds))]
        keep = torch.stack([torch.ones_like(task.targets, dtype=torch.bool), *(task.folds != k for k in folds)])
        fitted = train(
            Copies(heads, Practice(self.config.head.modality_dropout, swap)),
            (task.train, self.answers), (task.val, self._as_shared(task.val_targets)), self.config.train,
            keep=keep, seed=self.config.seed, device=self.device, label="early",
        )  # fmt: skip
        oof = torch.zeros(len(task.targets), task.classes)
        for k, head in zip(folds, heads[1:], strict=True):
            rows = (task.folds == k).nonzero()[:, 0]
            oof[rows] = logits(head, task.train.rows(rows))
        note = EARLY[self.config.head.early].note
        if swap:
            note += "; " + ", ".join(f"{share:.0%} of {s} features swapped in training" for s, share in swap.items())
        return self.finish_early(heads[0], fitted.curve, fitted.seconds, note, oof if folds else None)

    def new_early(self) -> EarlyHead:
        """An untrained head of the configured early fusion: seeded weights, statistics and prior of the training rows.

        Raises:
            ConfigError: HUSE's towers end in different widths.
        """
        with seeded(self.config.seed):
            head = early_head(self.config.head.early, self.shape("early"))
        head.prepare(self.task.train.features, self.task.train.present, self.log_prior)
        head.begin(self.config.head, self.task.class_vectors)
        return head

    def finish_early(
        self, head: torch.nn.Module, curve: Curve, seconds: float, note: str, oof: Tensor | None = None
    ) -> FittedModel:
        """A trained head from `new_early`, calibrated on the held-out rows of the task.

        Args:
            oof: (N, K) out-of-fold logits of the training rows, where they are held out in turn.
        """
        fits = {modality: self._modality(modality) for modality in MODALITIES}
        found = logits(head, self.task.val)
        both, _, answers = self._shared(fits)
        if self.cross_fits:
            # Without out-of-fold logits, as after a joint training, the validation rows alone count.
            both = both if oof is not None else both[both < len(found)]
            answers = self.held[1].select(both)
        fused = (found if oof is None else torch.cat([found, oof]))[both]
        cross = cross_validated(calibrated(fused, answers), len(both), self.task.classes, self.config.seed)
        temperature = fit_temperature(fused, answers.targets, answers.weights)
        losses = self._losses(fits, both, cross)
        return self._finish("early", (head, temperature), losses, note, curve, seconds)

    def _excess(self, modality: str) -> float:
        """How much worse a modality does on new rows than on those its encoder has seen, as a share of the latter."""
        fit = self._modality(modality)
        rows = self.task.train.present[modality]
        said = fit.head.calibrated(torch.stack([one.train_logits for one in fit.fits]))
        with torch.no_grad():
            answers = fit.head.pool(said).argmax(1)
            new = (fit.head.pool(fit.held.log_probs).argmax(1) == fit.held.answers.targets).float().mean().item()
        known = (answers[rows] == self.task.targets[rows]).float().mean().item()
        return max(0.0, 1 - new / max(known, 1e-6))

    # Every model

    def _losses(
        self, fits: Mapping[str, _ModalityFit], both: Tensor | None = None, fused: Tensor | None = None
    ) -> float:
        """Mean loss on the held-out rows, by what each has: cross-validated logits of modalities and of the fusion."""
        modalities, answers = self.held
        found = self.log_prior.expand(len(modalities), -1).clone()
        for fit in fits.values():
            found[fit.held_rows] = fit.cross
        if both is not None and fused is not None:
            found[both] = fused
        return mean_loss(found, answers)

    def _finish(
        self, model: str, fusion: tuple[torch.nn.Module, float] | None, val_loss: float, note: str, curve: Curve,
        seconds: float, late: str = "product",
    ) -> FittedModel:  # fmt: skip
        modalities = (model,) if model in MODALITIES else MODALITIES
        fits = {s: self._modality(s) for s in modalities}
        experts = {s: fit.specs for s, fit in fits.items()}
        spec = HeadSpec(model, self.shape(model), experts, late, self.config.head.early)
        with seeded(self.config.seed):
            whole = build_model(spec)
        whole.log_prior = self.log_prior
        for modality, fit in fits.items():
            whole.heads[modality].load_state_dict(fit.head.state_dict())
        if fusion is not None:
            assert whole.fusion is not None
            whole.fusion.load_state_dict(fusion[0].state_dict())
            whole.temperature = torch.tensor(fusion[1])
        scores = {i: w for fit in fits.values() for one in fit.fits for i, w in one.scores.items()}
        return FittedModel(spec, whole.eval(), curve, seconds, note, val_loss, scores)


def _linear_experts(modality: str, shape: Shape, rows: Rows) -> tuple[list[ExpertFit], list[Way]]:
    """An expert for each encoder, one for all side by side, and the ways to join them."""
    parts = shape.parts[modality]
    single = [ExpertSpec((), (i,)) if i in rows.sparse else ExpertSpec((i,)) for i in range(len(parts))]
    fits = [fit_linear(modality, spec, shape, rows) for spec in single]
    ways = [Way(f"linear head on {part.name}", (i,)) for i, part in enumerate(parts)]
    if len(parts) > 1:
        count, names = len(parts), ", ".join(part.name for part in parts)
        fits.append(fit_linear(modality, ExpertSpec(tuple(range(count))), shape, rows))
        ways.append(Way(f"linear head on {names} side by side", (count,)))
        ways.append(Way(f"mean of linear heads on {names}", tuple(range(count))))
        ways.append(Way(f"weighted pool of linear heads on {names}", tuple(range(count)), weighted=True))
    return fits, ways
