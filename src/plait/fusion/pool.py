"""Opinion pools (Genest & Zidek 1986): several class distributions made one."""

from __future__ import annotations

import torch
from torch import Tensor

from plait.fusion.newton import Derivatives, minimise

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
    share, begin = weights / weights.sum(), start.log().double()
    evidence = log_probs - priors[:, None]
    above = evidence - evidence.gather(2, targets.expand(len(start), -1)[..., None])  # of the class that is right
    first = log_prior - log_prior[targets][:, None]
    pull = PULL / len(targets)

    def loss(logs: Tensor) -> Derivatives:
        exponents, away = logs.exp(), logs - begin
        logits = torch.einsum("e,enk->nk", exponents.to(above.dtype), above).add_(first)
        total = logits.logsumexp(1, keepdim=True)
        probs = logits.sub_(total).exp_()
        means = torch.einsum("nk,enk->en", probs, above)
        weighed = above * probs.mul_(share[:, None]).sqrt_()
        flat = weighed.flatten(1)
        gradient = exponents * (means @ share).double()
        spread = (flat @ flat.T - (means * share) @ means.T).double()
        hessian = spread * exponents[:, None] * exponents + torch.diag(gradient + pull)
        value = share.double() @ total[:, 0].double() + pull / 2 * (away**2).sum()
        return value.item(), gradient + pull * away, hessian

    return minimise(loss, begin).exp().to(start.dtype)
