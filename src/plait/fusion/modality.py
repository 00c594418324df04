"""Heads that read one modality: experts, each on the features of one encoder or of several, and the pool of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.fusion.calibration import scaled, with_noise
from plait.fusion.dropout import Dropout
from plait.fusion.pool import log_pool, mean_pool
from plait.matrix import Matrix, some, std_mean

MODALITIES = ("image", "text")


@dataclass(frozen=True)
class Part:
    """The columns that one encoder adds to the features of a modality.

    Attributes:
        name: the encoder's.
        dense: columns that any head may read.
        scores: columns behind them that are already a linear classifier's answers, one a class; 0 for most encoders.
    """

    name: str
    dense: int
    scores: int = 0


@dataclass(frozen=True)
class Shape:
    """Sizes a head is built from.

    Attributes:
        parts: the columns of each modality's features, in order.
        classes: K.
        kind: ``linear`` or ``mlp``, for heads of one modality.
        hidden: width of hidden layers.
        dropout: on hidden units.
        towers: widths of the layers of each modality, for early fusion by towers or HUSE; else empty.
        tower_dropout: on the hidden units of HUSE's towers.
    """

    parts: Mapping[str, tuple[Part, ...]]
    classes: int
    kind: str = "linear"
    hidden: int = 512
    dropout: float = 0.5
    towers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    tower_dropout: float = 0.0

    @classmethod
    def of(cls, dims: Mapping[str, int], classes: int, **sizes: Any) -> Shape:
        """Sizes for one encoder a modality, by the dimension of its features."""
        return cls({modality: (Part(modality, dim),) for modality, dim in dims.items()}, classes, **sizes)

    @property
    def dims(self) -> dict[str, int]:
        """Dense columns of each modality: what early fusion reads."""
        return {modality: sum(part.dense for part in parts) for modality, parts in self.parts.items()}

    @property
    def widths(self) -> dict[str, int]:
        """Columns of each modality, scores too: what a whole model reads."""
        return {modality: sum(part.dense + part.scores for part in parts) for modality, parts in self.parts.items()}

    def dense(self, modality: str, only: Sequence[int] | None = None) -> list[int]:
        """Columns of the dense features of a modality, or of some of its parts by number."""
        return self._columns(modality, range(len(self.parts[modality])) if only is None else only, scores=False)

    def scores(self, modality: str, only: Sequence[int]) -> list[int]:
        """Columns of the scores of some parts."""
        return self._columns(modality, only, scores=True)

    def _columns(self, modality: str, only: Sequence[int], scores: bool) -> list[int]:
        found: list[int] = []
        start = 0
        for number, part in enumerate(self.parts[modality]):
            if number in only:
                first = start + part.dense if scores else start
                found += range(first, first + (part.scores if scores else part.dense))
            start += part.dense + part.scores
        return found


@dataclass(frozen=True)
class ExpertSpec:
    """What an expert reads: numbers of the parts whose dense columns, and whose scores."""

    dense: tuple[int, ...]
    scores: tuple[int, ...] = ()


class Standardise(nn.Module):
    """Subtract the mean and divide by the standard deviation of the training rows; (B, D) -> (B, D)."""

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, features: Matrix) -> None:
        """Take mean and scale from (N, D) training features; a constant column is left unscaled."""
        if len(features) < 2:
            return
        std, mean = std_mean(features)
        # A floor relative to the typical column keeps nearly constant ones from being blown up.
        floor = 1e-2 * std.median().clamp_min(1e-6)
        self.mean = mean
        self.scale = 1 / torch.where(std > floor, std, torch.ones_like(std))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.scale


class Expert(nn.Module):
    """Logits (B, K) from the columns of some parts: a linear layer on the features as they are, or an MLP."""

    columns: Tensor
    answers: Tensor

    def __init__(self, modality: str, spec: ExpertSpec, shape: Shape):
        super().__init__()
        self.register_buffer("columns", torch.tensor(shape.dense(modality, spec.dense), dtype=torch.int64))
        scores = torch.tensor(shape.scores(modality, spec.scores), dtype=torch.int64)
        self.register_buffer("answers", scores.view(len(spec.scores), shape.classes))
        self.bias = nn.Parameter(torch.zeros(shape.classes))
        self.layers = nn.Sequential()
        width = len(self.columns)
        if shape.kind == "mlp":
            self.layers.extend([Standardise(width), nn.Linear(width, shape.hidden), nn.LayerNorm(shape.hidden)])
            self.layers.extend([nn.GELU(), Dropout(shape.dropout)])
            width = shape.hidden
        self.output = nn.Linear(width, shape.classes, bias=False) if width else None
        if self.output is not None:
            nn.init.zeros_(self.output.weight)

    def prepare(self, features: Matrix) -> None:
        """Take the standardisation of an MLP from (N, D) training features."""
        if len(self.layers):
            self.layers[0].fit(some(features, columns=self.columns))  # type: ignore[operator]

    def forward(self, features: Tensor) -> Tensor:
        logits = self.bias.expand(features.shape[0], -1)
        if self.output is not None:
            logits = logits + self.output(self.layers(features[:, self.columns]))
        for answers in self.answers:
            logits = logits + features[:, answers]
        return logits


class ModalityHead(nn.Module):
    """Calibrated log-probabilities from one modality; the class prior where that modality is missing.

    ``forward(features, present)``: features[modality] (B, D) float, present[modality] (B,) bool -> (B, K).

    Attributes:
        experts: E of them. temperatures, slopes, noises: (E,) that calibrate each.
        exponents: (E,) of the log-opinion pool; all zero: the arithmetic mean of the probabilities instead.
        priors: (E, K) log class shares that each expert was trained with, which pools and products take out.
        prior: (K,) the same of the pool. log_prior: (K,) what a row without the modality gets.
        temperature: of the pool.
    """

    temperatures: Tensor
    slopes: Tensor
    noises: Tensor
    exponents: Tensor
    priors: Tensor
    prior: Tensor
    log_prior: Tensor
    temperature: Tensor

    def __init__(self, modality: str, specs: Sequence[ExpertSpec], shape: Shape):
        super().__init__()
        self.modality = modality
        self.experts = nn.ModuleList(Expert(modality, spec, shape) for spec in specs)
        self.register_buffer("temperatures", torch.ones(len(specs)))
        self.register_buffer("slopes", torch.zeros(len(specs)))
        self.register_buffer("noises", torch.zeros(len(specs)))
        self.register_buffer("exponents", torch.ones(len(specs)) / len(specs))
        self.register_buffer("priors", torch.zeros(len(specs), shape.classes))
        self.register_buffer("prior", torch.zeros(shape.classes))
        self.register_buffer("log_prior", torch.zeros(shape.classes))
        self.register_buffer("temperature", torch.ones(()))

    def opinions(self, features: Mapping[str, Tensor]) -> Tensor:
        """(E, B, K) calibrated log-probabilities of each expert."""
        logits = torch.stack([expert(features[self.modality]) for expert in self.experts])
        return self.calibrated(logits)

    def calibrated(self, logits: Tensor) -> Tensor:
        """(E, B, K) logits of the experts -> calibrated log-probabilities."""
        log_probs = scaled(logits, self.temperatures[:, None], self.slopes[:, None])
        return with_noise(log_probs, self.log_prior, self.noises[:, None, None])

    def pool(self, opinions: Tensor) -> Tensor:
        """(E, B, K) -> (B, K) calibrated log-probabilities."""
        if len(self.experts) == 1:
            pooled = opinions[0]
        else:
            weighted = log_pool(opinions, self.priors, self.exponents, self.log_prior)
            pooled = torch.where(self.exponents.sum() > 0, weighted, mean_pool(opinions))
        return F.log_softmax(pooled / self.temperature, dim=1)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        answers = self.pool(self.opinions(features))
        return torch.where(present[self.modality][:, None], answers, self.log_prior)


def prior(targets: Tensor, classes: int, weights: Tensor | None = None) -> Tensor:
    """(N,) class numbers, and weights of the rows -> (K,) log share of each class.

    A class without rows counts as one row of average weight.
    """
    weights = torch.ones(len(targets)) if weights is None else weights
    shares = torch.zeros(classes).index_add_(0, targets, weights.float())
    shares = torch.where(shares > 0, shares, weights.float().mean())
    return (shares / shares.sum()).log()
