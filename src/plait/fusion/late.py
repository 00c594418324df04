"""Late (decision-level) fusion: combine the class probabilities of the strands.

All functions take log-probabilities of each strand, (B, K), and which strands are present, (B,) bool; a missing
strand has no say, and where none is present the answer is the class prior.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.fusion.strand import STRANDS

KINDS = ("mean", "product", "weighted", "stacking")
PerStrand = Mapping[str, Tensor]


def mean(log_probs: PerStrand, present: PerStrand, log_prior: Tensor) -> Tensor:
    """Arithmetic mean of the probabilities of the strands that are present (linear opinion pool); (B, K) logits."""
    weights = torch.stack([present[s] for s in STRANDS]).float()  # (S, B)
    probs = torch.stack([log_probs[s].exp() for s in STRANDS])  # (S, B, K)
    total = (weights[..., None] * probs).sum(0)
    pooled = (total / weights.sum(0).clamp_min(1)[:, None]).clamp_min(1e-12).log()
    return torch.where((weights.sum(0) > 0)[:, None], pooled, log_prior)


def product(log_probs: PerStrand, present: PerStrand, log_prior: Tensor, weights: Tensor | None = None) -> Tensor:
    """Product of experts with the class prior taken out; (B, K) logits.

    ``log p(y) + sum_s w_s (log p(y | s) - log p(y))`` over the strands that are present: Bayes' rule where the
    strands are independent given the class (w = 1), a log-opinion pool otherwise (Genest & Zidek 1986).
    """
    logits = log_prior.expand_as(log_probs[STRANDS[0]])
    for i, strand in enumerate(STRANDS):
        evidence = torch.where(present[strand][:, None], log_probs[strand] - log_prior, 0.0)
        logits = logits + (evidence if weights is None else weights[i] * evidence)
    return logits


class LateFusion(nn.Module):
    """One of `KINDS`, with its parameters.

    ``forward(logits, present)``: uncalibrated strand logits (B, K) each -> (B, K) logits.
    `weighted` has one exponent a strand; `stacking` (Wolpert 1992) a linear map of both log-probabilities that
    starts from the product and is regularised towards it.
    """

    def __init__(self, kind: str, classes: int):
        super().__init__()
        self.kind = kind
        self.log_prior: Tensor
        self.temperature: Tensor
        self.register_buffer("log_prior", torch.zeros(classes))
        self.register_buffer("temperature", torch.ones(len(STRANDS)))
        self.weights = nn.Parameter(torch.ones(len(STRANDS))) if kind == "weighted" else None
        self.stack = nn.Parameter(torch.zeros(len(STRANDS) * classes, classes)) if kind == "stacking" else None
        self.bias = nn.Parameter(torch.zeros(classes)) if kind == "stacking" else None

    def log_probs(self, logits: PerStrand) -> dict[str, Tensor]:
        """Each strand's calibrated log-probabilities."""
        return {s: F.log_softmax(logits[s] / self.temperature[i], dim=1) for i, s in enumerate(STRANDS)}

    def forward(self, logits: PerStrand, present: PerStrand) -> Tensor:
        log_probs = self.log_probs(logits)
        if self.kind == "mean":
            return mean(log_probs, present, self.log_prior)
        if self.kind == "weighted":
            return product(log_probs, present, self.log_prior, self.weights)
        start = product(log_probs, present, self.log_prior)
        if self.stack is None or self.bias is None:
            return start
        # Evidence relative to the prior is zero for a missing strand, so it moves nothing.
        evidence = [torch.where(present[s][:, None], log_probs[s] - self.log_prior, 0.0) for s in STRANDS]
        some = torch.stack([present[s] for s in STRANDS]).any(0)
        return torch.where(some[:, None], start + torch.cat(evidence, dim=1) @ self.stack + self.bias, start)


class LateHead(nn.Module):
    """Strand heads and the fusion of their answers; ``forward(features, present)`` -> (B, K) logits."""

    def __init__(self, heads: Mapping[str, nn.Module], fusion: LateFusion):
        super().__init__()
        self.heads = nn.ModuleDict(dict(heads))
        self.fusion = fusion

    def forward(self, features: PerStrand, present: PerStrand) -> Tensor:
        logits = {strand: self.heads[strand](features, present) for strand in STRANDS}
        fused: Tensor = self.fusion(logits, present)
        return fused


def fit_late(fusion: LateFusion, logits: PerStrand, present: PerStrand, targets: Tensor, penalty: float = 1e-2) -> None:
    """Fit the parameters of `weighted` or `stacking` to logits of rows the strand heads were NOT trained on.

    Minimises cross-entropy plus ``penalty / 2`` times the squared distance from the product, by L-BFGS.
    """
    parameters = list(fusion.parameters())
    if not parameters:
        return
    start = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.LBFGS(parameters, max_iter=50, line_search_fn="strong_wolfe", tolerance_change=1e-6)

    def loss() -> Tensor:
        optimiser.zero_grad()
        pull = sum(((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True))
        value = F.cross_entropy(fusion(logits, present), targets) + penalty / 2 * pull
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
