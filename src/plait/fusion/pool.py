"""Opinion pools (Genest & Zidek 1986): several class distributions made one."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from plait.fusion.lbfgs import Descent, differentiated

PULL = 1.0  # rows that the starting point of the exponents counts for


def log_pool(log_probs: Tensor, priors: Tensor, exponents: Tensor, log_prior: Tensor) -> Tensor:
    """``log p(y) + sum_e a_e (log p_e(y | x) - log p_e(y))``: (E, B, K), (E, K), (E,), (K,) -> (B, K) logits.

    With exponents 1 it is Bayes' rule for experts that are independent given the class.
    """
    evidence = log_probs - priors[:, None]
    return log_prior + (exponents[:, None, None] * evidence).sum(0)


def mean_pool(log_probs: Tensor) -> Tensor:
    """Arithmetic mean of the probabilities: (E, B, K) -> (B, K) logits."""
    return log_probs.exp().mean(0).clamp_min(1e-12).log()


def fit_exponents(
    log_probs: Tensor, priors: Tensor, log_prior: Tensor, answers: tuple[Tensor, Tensor], start: Tensor
) -> Tensor:
    """The exponents a > 0 of a log-opinion pool that minimise cross-entropy, pulled towards `start` as by `PULL` rows.

    Args:
        log_probs: (E, N, K) of rows that no expert was trained on.
        answers: (N,) int64 classes, and (N,) weights of the rows.
        start: (E,), above 0; what no rows give.
    """
    targets, weights = answers
    if not weights.any():
        return start.clone()
    share = weights / weights.sum()
    begin = start.log()

    def loss(logs: Tensor) -> Tensor:
        losses = F.cross_entropy(log_pool(log_probs, priors, logs.exp(), log_prior), targets, reduction="none")
        return (share * losses).sum() + PULL / (2 * len(targets)) * ((logs - begin) ** 2).sum()

    return Descent(differentiated(loss), begin).run(1e-7, 75).point.exp()
