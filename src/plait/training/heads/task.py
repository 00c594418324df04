"""What heads are fitted to: rows that they learn from, and rows that judge them, weighed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from plait.config import TrainConfig
from plait.encoders.classifier import OwnClassifier
from plait.fusion.inputs import HeadInputs
from plait.fusion.modality import Part, prior
from plait.training.heads.experts import SparseRows
from plait.training.heads.folds import counts_of
from plait.training.heads.kept import KeptHeads
from plait.training.heads.logistic import Answers

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
        val_drawn: the rows of `val` were drawn from the rows to train on, not given: once they have chosen, linear
            heads learn from them, too.
        kept: heads that were fitted before; None: all are fitted anew.
        class_vectors: (K, D) embeddings of the class names, for HUSE; None: all classes equally far from one another.
        parts: the dense columns of each modality by encoder; empty: one encoder each.
        sparse: wide features of the text that only linear heads read, by the number of the part.
        own: classifiers that encoders were tuned with, by modality and number of the part.
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
    val_drawn: bool = False
    kept: KeptHeads | None = None
    own: Mapping[str, Mapping[int, OwnClassifier]] = field(default_factory=dict)


@dataclass
class TaskRows:
    """The rows of a task, weighed as a configuration asks."""

    task: Task
    config: TrainConfig

    @cached_property
    def answers(self) -> Answers:
        """Classes of the training rows and their weights, which are equal or balance the classes."""
        return self.weighed(self.task.targets, self.smoothing)

    @property
    def smoothing(self) -> float:
        """Of linear heads: none unless it is asked for, for their probabilities are calibrated as they are."""
        return self.config.label_smoothing or 0.0

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
        task, answers = self.task, self.as_shared(self.task.val_targets)
        if not self.cross_fits:
            return task.val, answers
        features = {s: torch.cat([x[:], task.train.features[s][:]]) for s, x in task.val.features.items()}
        present = {s: torch.cat([x, task.train.present[s]]) for s, x in task.val.present.items()}
        targets = torch.cat([task.val_targets, task.targets])
        counts = torch.cat([torch.ones(len(task.val_targets)), counts_of(task.folds, task.targets)])
        return HeadInputs(features, present), self.as_shared(targets).counted(counts)

    @property
    def further(self) -> Answers | None:
        """The validation rows as training rows, where linear heads learn from them in the end."""
        task = self.task
        if not task.val_drawn or task.val_seen or not len(task.val_targets):
            return None
        return self.weighed(task.val_targets, self.smoothing)

    def weighed(self, targets: Tensor, smoothing: float = 0.0) -> Answers:
        """Answers whose weights are equal, or balance the classes."""
        weights = torch.ones(len(targets))
        if self.config.class_weights == "balanced":
            counts = torch.bincount(self.task.targets, minlength=self.task.classes).clamp_min(1)
            weights = (len(self.task.targets) / (self.task.classes * counts.float()))[targets]
        return Answers(targets, self.task.classes, weights, smoothing)

    def as_shared(self, targets: Tensor) -> Answers:
        """Answers of held-out rows, weighted so that each class has the share that it has of all rows.

        A draw holds out a row of every class that has two, and so too many of the rare ones, which are the hardest.
        """
        task, answers = self.task, self.weighed(targets)
        counts = [
            torch.bincount(some, minlength=task.classes).float() for some in (task.targets, task.val_targets, targets)
        ]
        wanted = (counts[0] + counts[1]) / counts[2].clamp_min(1)
        wanted = (wanted / (wanted[targets].mean() if len(targets) else 1)).clamp_max(MOST)
        return replace(answers, weights=answers.weights * wanted[targets])

    def parts(self, modality: str) -> tuple[Part, ...]:
        """The parts of a modality's features, one of each encoder."""
        return self.task.parts.get(modality) or (Part(modality, self.task.train.features[modality].shape[1]),)
