"""Fits the experts of a modality, each to its optimum, and what they say of rows they were not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from plait.config import Config
from plait.encoders.classifier import OwnClassifier
from plait.fusion.calibration import fit_calibration
from plait.fusion.inputs import EVAL_BATCH, HeadInputs
from plait.fusion.modality import Expert, ExpertSpec, Shape
from plait.matrix import DiskMatrix, Matrix, blocks, some
from plait.training.heads.descent import Copies, train
from plait.training.heads.designs import DenseDesign, Design, SparseDesign
from plait.training.heads.folds import Fold, counts_of, folds_of
from plait.training.heads.kept import KeptHeads, Tensors
from plait.training.heads.logistic import COARSE, FINE, MEDIUM, Answers, Solution, solve
from plait.training.heads.loss import mean_loss
from plait.training.heads.streamed import StreamedDesign
from plait.training.heads.strengths import Trial, best_strength
from plait.training.seeds import Curve, seeded

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class SparseRows:
    """Wide features of one part of the text that only linear experts read: (N, V) and (M, V) float32."""

    train: csr_matrix
    val: csr_matrix


@dataclass(frozen=True)
class Rows:
    """Rows to fit the experts of one modality to, and rows held out.

    Attributes:
        train: N rows, of which those with the modality count. val: M rows.
        answers: classes and weights of the N rows. val_answers: those of the M rows.
        folds: (N,) folds to cross-fit by; None: the M rows are enough.
        sparse: wide features by the number of the part.
        further: the answers of the M rows as training rows, where linear experts learn from them, too, once they have
            judged; None: they do not.
        seen: dense features are of an encoder that has seen the N rows, and unlike those of the M rows, from which
            experts on them do not learn. Wide ones know nothing of labels.
        kept: linear experts that were fitted before; None: all are fitted anew.
        own: classifiers that encoders were tuned with, by the number of the part.
    """

    train: HeadInputs
    val: HeadInputs
    answers: Answers
    val_answers: Answers
    folds: Tensor | None = None
    sparse: Mapping[int, SparseRows] = field(default_factory=dict)
    further: Answers | None = None
    seen: bool = False
    kept: KeptHeads | None = None
    own: Mapping[int, OwnClassifier] = field(default_factory=dict)


@dataclass(frozen=True)
class ExpertFit:
    """A fitted expert.

    Attributes:
        train_logits: (N, K) of the training rows. held_logits: (M, K) of the validation rows, before it learnt from
            them if it did, or (M + N, K) with the out-of-fold logits of the training rows behind them.
        scores: (V, K) weights of wide features, by the number of the part.
        state: of an `Expert`, but for its columns, which depend on what else the modality's features have.
        seconds: that fitting it took before this run.
    """

    spec: ExpertSpec
    state: dict[str, Tensor]
    train_logits: Tensor
    held_logits: Tensor
    scores: dict[int, Tensor] = field(default_factory=dict)
    curve: Curve = field(default_factory=list)
    seconds: float = 0.0


class _Fitting:
    """One linear expert on its way to the optimum."""

    def __init__(self, modality: str, spec: ExpertSpec, shape: Shape, rows: Rows):
        self.modality, self.spec, self.rows = modality, spec, rows
        self.columns = shape.dense(modality, spec.dense)
        self.known = rows.train.present[modality].nonzero()[:, 0]
        self.answers = rows.answers.select(self.known)
        self.wide = rows.sparse[spec.scores[0]] if spec.scores else None

    def inputs(self, rows: HeadInputs, sparse: Any, wanted: Tensor | None = None) -> Any:
        """What the expert reads of some rows: dense columns (R, D), or a wide matrix (R, V)."""
        if self.spec.scores:
            return sparse if wanted is None else sparse[wanted.numpy()]
        features = rows.features[self.modality]
        every = len(self.columns) == features.shape[1]
        return some(features, wanted, None if every else torch.tensor(self.columns))

    @property
    def further(self) -> Answers | None:
        """Answers of the validation rows, where this expert learns from them in the end."""
        return None if self.rows.seen and not self.spec.scores else self.rows.further

    @property
    def known_by(self) -> dict[str, Any]:
        """All that its fit depends on."""
        rows = self.rows
        read = {
            name: [self.inputs(part, getattr(self.wide, name, None)), part.present[self.modality]]
            for name, part in (("train", rows.train), ("val", rows.val))
        }
        told = [rows.answers, rows.val_answers, self.further, rows.folds]
        return {"expert": self.modality, "part": self.spec, "read": read, "answers": told}

    def expert(self, fitted: Tensors, seconds: float = 0.0) -> ExpertFit:
        """The expert that `fit` has fitted, seconds of it before this run."""
        weight, bias = fitted["weight"], fitted["bias"]
        train_logits = _answer(self.inputs(self.rows.train, getattr(self.wide, "train", None)), weight, bias)
        state = {"bias": bias} | ({} if self.spec.scores else {"output.weight": weight.T.contiguous()})
        scores = dict.fromkeys(self.spec.scores, weight)
        return ExpertFit(self.spec, state, train_logits, fitted["held"], scores, seconds=seconds)

    def fit(self) -> Tensors:
        """``weight`` (D, K) and ``bias`` (K,) for the features as they are, and ``held``: the `held_logits`."""
        rows, wide = self.rows, self.wide
        train, val = (None, None) if wide is None else (wide.train, wide.val)
        inputs = self.inputs(rows.train, train, self.known)
        design, oof = _design(inputs, rows.folds is None), None
        told = rows.val.present[self.modality].nonzero()[:, 0]
        judged, shown = rows.val_answers.select(told), self.inputs(rows.val, val, told)
        if rows.folds is None:
            (best,) = best_strength([Trial(design, self.answers, lambda s: loss_of(answer(shown, design, s), judged))])
        else:
            best, oof = self._cross_fit(design, rows.folds[self.known])
            best = solve(design, self.answers, best.strength, tolerance=COARSE)
        best, kept = self._kept(design, best, told, shown)
        held = [answer(self.inputs(rows.val, val), design, best)]
        if oof is not None:
            held.append(torch.zeros(len(rows.train), oof.shape[1]).index_copy_(0, self.known, oof))
        weight, bias = design.plain(kept.weight, kept.bias)
        return {"weight": weight, "bias": bias, "held": torch.cat(held)}

    def _kept(self, design: Design, best: Solution, told: Tensor, shown: Any) -> tuple[Solution, Solution]:
        """The solution that answers the held-out rows, and the one that is kept: fitted to these, too, where it may."""
        further = self.further
        wider = design.extended(shown) if further is not None and len(told) else None
        if further is None or wider is None:
            best = best.refined(FINE)
            return best, best
        best, answers = best.refined(MEDIUM), self.answers.extended(further.select(told))
        share = len(self.known) / len(answers.targets)  # the strength is one of the mean loss, not of the sum
        return best, solve(wider, answers, best.strength * share, best)

    def _cross_fit(self, design: Design, folds: Tensor) -> tuple[Solution, Tensor]:
        """The best strength by cross-validation, and logits of each row by an expert that has not seen its fold."""
        parts, held = folds_of(folds), self.answers.counted(counts_of(folds, self.answers.targets))

        def trial(fold: Fold) -> Trial:
            judged, shown = held.select(fold.test), design.select(fold.test)
            share = float(judged.weights.sum())
            return Trial(
                design.select(fold.train), self.answers.select(fold.train),
                lambda s: share * loss_of(shown.times(s.weight) + s.bias, judged),
            )  # fmt: skip

        oof = torch.zeros(len(folds), self.answers.classes)
        for solution, fold in zip(best_strength([trial(fold) for fold in parts]), parts, strict=True):
            solution = solution.refined(FINE)
            oof[fold.test] = design.select(fold.test).times(solution.weight) + solution.bias
        return solution, oof


def _design(inputs: Any, stream: bool) -> Design:
    """Features as the solver reads them; few rows, that are fitted fold by fold, are read into memory."""
    if not isinstance(inputs, Matrix):
        return SparseDesign.of(inputs)
    if isinstance(inputs, DiskMatrix) and stream:
        return StreamedDesign.of(inputs)
    return DenseDesign.of(inputs[:])


def answer(inputs: Any, design: Design, solution: Solution) -> Tensor:
    """(R, K) logits of dense or wide inputs."""
    return _answer(inputs, *design.plain(solution.weight, solution.bias))


def _answer(inputs: Any, weight: Tensor, bias: Tensor) -> Tensor:
    """By weights (D, K) and bias (K,) for the features as they are."""
    if isinstance(inputs, Matrix):
        return torch.cat([block @ weight + bias for _, block in blocks(inputs)])
    return torch.from_numpy(inputs @ weight.numpy()) + bias


def loss_of(logits: Tensor, answers: Answers) -> float:
    """Weighted cross-entropy once calibrated: strong L2 makes an expert unsure, not wrong."""
    if not answers.weights.any():
        return 0.0
    flat = torch.full((answers.classes,), 1 / answers.classes).log()
    return mean_loss(fit_calibration(logits, answers.targets, flat, answers.weights)(logits, flat), answers)


def fit_linear(modality: str, spec: ExpertSpec, shape: Shape, rows: Rows) -> ExpertFit:
    """A linear expert at the optimum of its loss, its L2 strength chosen on held-out rows."""
    fitting = _Fitting(modality, spec, shape, rows)
    if rows.kept is None:
        return fitting.expert(fitting.fit())
    found = rows.kept.get(fitting.known_by, lambda: (fitting.fit(), {}))
    return fitting.expert(found.tensors, found.seconds if found.before else 0.0)


def tuned_with(modality: str, number: int, shape: Shape, rows: Rows) -> ExpertFit:
    """The classifier that the encoder of a part was tuned with, as an expert on its features.

    It learnt from pictures cropped and changed at random, and so overfits less than one that is fitted to the features
    of the same rows as they are.
    """
    fitting, own = _Fitting(modality, ExpertSpec((number,)), shape, rows), rows.own[number]
    held = [rows.val, rows.train] if rows.folds is not None else [rows.val]
    said = torch.cat([_answer(fitting.inputs(part, None), own.weight, own.bias) for part in held])
    return fitting.expert({"weight": own.weight, "bias": own.bias, "held": said})


class _Alone(nn.Module):
    """An expert with the face of a head; ``forward(features, present)`` -> (B, K)."""

    def __init__(self, modality: str, expert: Expert):
        super().__init__()
        self.modality, self.expert = modality, expert

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = self.expert(features[self.modality])
        return found


def fit_mlp(modality: str, shape: Shape, rows: Rows, config: Config, device: torch.device | str = "cpu") -> ExpertFit:
    """An MLP on all dense features of a modality, trained until its validation loss gets no better."""
    spec = ExpertSpec(tuple(range(len(shape.parts[modality]))))
    present = rows.train.present[modality]
    keep = [present]
    folds = folds_of(rows.folds) if rows.folds is not None else []
    keep += [present & (rows.folds != fold.number) for fold in folds]
    experts = []
    for _ in keep:
        with seeded(config.seed):
            expert = Expert(modality, spec, shape)
        expert.prepare(some(rows.train.features[modality], present.nonzero()[:, 0]))
        experts.append(expert)
    copies = Copies([_Alone(modality, expert) for expert in experts])
    told = rows.val.present[modality].nonzero()[:, 0]
    val = (rows.val.rows(told), rows.val_answers.select(told))
    fitted = train(
        copies, (rows.train, rows.answers), val, config.train, keep=torch.stack(keep), seed=config.seed,
        device=device, label=modality,
    )  # fmt: skip
    train_logits = _blocks(experts[0], rows.train.features[modality])
    held = [_blocks(experts[0], rows.val.features[modality])]
    if folds:
        oof = torch.zeros_like(train_logits)
        for fold, expert in zip(folds, experts[1:], strict=True):
            oof[fold.test] = _blocks(expert, some(rows.train.features[modality], fold.test))
        held.append(oof)
    state = {k: v for k, v in experts[0].state_dict().items() if k not in ("columns", "answers")}
    return ExpertFit(spec, state, train_logits, torch.cat(held), {}, fitted.curve)


def _blocks(expert: Expert, features: Matrix) -> Tensor:
    with torch.inference_mode():
        parts = (part for _, block in blocks(features) for part in torch.split(block, EVAL_BATCH))
        return torch.cat([expert(part) for part in parts]).clone()
