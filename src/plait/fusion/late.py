"""Late (decision-level) fusion: combine the class probabilities of the modalities, for rows that have them all.

All functions take calibrated log-probabilities of each modality, (B, K), and the log class shares that each modality
was trained with, (K,); `log_prior` (K,) is that of the rows to be answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from plait.fusion.lbfgs import Descent, differentiated
from plait.fusion.modality import MODALITIES, ModalityHead
from plait.fusion.pool import fit_exponents, log_pool, mean_pool

KINDS = ("mean", "product", "weighted", "stacking")
PerModality = Mapping[str, Tensor]


def mean(log_probs: PerModality) -> Tensor:
    """Arithmetic mean of the probabilities of the modalities (linear opinion pool); (B, K) logits."""
    return mean_pool(torch.stack([log_probs[s] for s in MODALITIES]))


def product(log_probs: PerModality, priors: PerModality, log_prior: Tensor) -> Tensor:
    """Product of experts with the class prior of each training taken out; (B, K) logits.

    ``log p(y) + sum_s (log p(y | s) - log p_s(y))``: Bayes' rule where the modalities are independent given the class.
    """
    said, known = (torch.stack([found[s] for s in MODALITIES]) for found in (log_probs, priors))
    return log_pool(said, known, torch.ones_like(said[:, 0, 0]), log_prior)


@dataclass(frozen=True)
class Opinions:
    """What the modalities say of B rows: the pooled log-probabilities (B, K) of each, and its experts' (E_s, B, K)."""

    pooled: dict[str, Tensor]
    experts: dict[str, Tensor]

    def rows(self, rows: Tensor) -> Opinions:
        """Of some rows."""
        return Opinions({s: x[rows] for s, x in self.pooled.items()}, {s: x[:, rows] for s, x in self.experts.items()})

    @property
    def stacked(self) -> Tensor:
        """(E, B, K) of the experts of all modalities."""
        return torch.cat([self.experts[s] for s in MODALITIES])


class LateFusion(nn.Module):
    """One of `KINDS`, with its parameters; ``forward(opinions)`` -> (B, K) logits.

    `weighted` is the log-opinion pool of all experts with an exponent each; `stacking` (Wolpert 1992) a linear map of
    both log-probabilities that starts from the product and is regularised towards it.

    Attributes:
        priors: (2, K) log class shares that each modality was trained with. expert_priors: (E, K) those of the experts.
    """

    log_prior: Tensor
    priors: Tensor
    expert_priors: Tensor
    exponents: Tensor

    def __init__(self, kind: str, classes: int, experts: int):
        super().__init__()
        self.kind = kind
        self.register_buffer("log_prior", torch.zeros(classes))
        self.register_buffer("priors", torch.zeros(len(MODALITIES), classes))
        self.register_buffer("expert_priors", torch.zeros(experts, classes))
        self.register_buffer("exponents", torch.ones(experts))
        stacking = kind == "stacking"
        self.stack = nn.Parameter(torch.zeros(len(MODALITIES) * classes, classes)) if stacking else None
        self.bias = nn.Parameter(torch.zeros(classes)) if stacking else None

    def prepare(self, heads: Mapping[str, ModalityHead], log_prior: Tensor) -> None:
        """Take the priors of the modalities, and an equal say for each expert of a modality."""
        self.log_prior = log_prior
        self.priors = torch.stack([heads[s].prior for s in MODALITIES])
        self.expert_priors = torch.cat([heads[s].priors for s in MODALITIES])
        counts = [len(heads[s].experts) for s in MODALITIES]
        self.exponents = torch.cat([torch.full((count,), 1 / count) for count in counts])

    def forward(self, opinions: Opinions) -> Tensor:
        if self.kind == "mean":
            return mean(opinions.pooled)
        if self.kind == "weighted":
            return log_pool(opinions.stacked, self.expert_priors, self.exponents, self.log_prior)
        start = product(opinions.pooled, dict(zip(MODALITIES, self.priors, strict=True)), self.log_prior)
        if self.stack is None or self.bias is None:
            return start
        evidence = [opinions.pooled[s] - prior for s, prior in zip(MODALITIES, self.priors, strict=True)]
        return start + torch.cat(evidence, dim=1) @ self.stack + self.bias


def fit_late(fusion: LateFusion, opinions: Opinions, answers: tuple[Tensor, Tensor], penalty: float = 1e-2) -> None:
    """Fit the parameters of `weighted` or `stacking` to rows the experts were NOT trained on; no rows: leave them.

    `stacking` minimises cross-entropy plus ``penalty / 2`` times the squared distance from the product, by L-BFGS.

    Args:
        answers: (N,) int64 classes, and (N,) weights of the rows.
    """
    targets, weights = answers
    if not weights.any():
        return
    if fusion.kind == "weighted":
        fusion.exponents = fit_exponents(
            opinions.stacked, fusion.expert_priors, fusion.log_prior, answers, fusion.exponents
        )
    parameters = list(fusion.parameters())
    if not parameters:
        return
    share = weights / weights.sum()
    names = [name for name, _ in fusion.named_parameters()]

    def loss(point: Tensor) -> Tensor:
        pieces = torch.split(point, [parameter.numel() for parameter in parameters])
        given = {name: piece.view_as(p) for name, piece, p in zip(names, pieces, parameters, strict=True)}
        losses = F.cross_entropy(functional_call(fusion, given, (opinions,)), targets, reduction="none")
        return (share * losses).sum() + penalty / 2 * (point**2).sum()

    start = parameters_to_vector(parameters).detach()
    vector_to_parameters(Descent(differentiated(loss), start).run(1e-6, 60).point, parameters)
