"""The three objectives of AnglE (Li & Li 2023, arXiv:2309.12871) and their mixture, for embeddings of text pairs.

A batch is P pairs: ``left`` and ``right`` are (P, D), ``scores`` (P,) says how alike each pair is: 1 and 0 for same and
other class, or any graded number. Only the order of the scores matters to `cosine` and `angle`; `in_batch` takes pairs
with a score of `POSITIVE` or more for the same thing. Every objective answers with one loss for the batch, a scalar of
at least 0, which is 0 where no two pairs differ in score.

Vectors of half precision are taken to 32 bits, and the objectives are computed in these under autocast, too.

A zero vector is at cosine 0 and at a phase difference of a right angle to anything, and receives no gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.config import AngleConfig, AngleForm
from plait.devices import in_32_bits
from plait.fusion.vectors import TINY, unit

POSITIVE = 0.8  # in_batch: pairs with at least this score belong together


def mixture(left: Tensor, right: Tensor, scores: Tensor, options: AngleConfig, classes: Tensor | None = None) -> Tensor:
    """``w1 * cosine + w2 * in_batch + w3 * angle``; a weight of 0 leaves an objective out.

    Args:
        classes: (2, P) as for `in_batch`; used where ``same_class`` is ``mask``.
    """
    loss = (left.float().sum() + right.float().sum()) * 0.0
    if options.cosine:
        loss = loss + options.cosine * cosine(left, right, scores, options.cosine_scale)
    if options.in_batch:
        known = classes if options.same_class == "mask" else None
        loss = loss + options.in_batch * in_batch(left, right, scores, options.in_batch_scale, known)
    if options.angle:
        loss = loss + options.angle * angle(left, right, scores, options.angle_scale, options.form)
    return loss


def mixture_of_classes(vectors: Tensor, classes: Tensor, options: AngleConfig) -> Tensor:
    """The mixture over all pairs of a batch of texts with classes: score 1 within a class, 0 between two.

    In-batch negatives pair every text with the next one of its class; texts alone in their class have no partner.

    Args:
        vectors: (B, D). classes: (B,) class numbers.
    """
    i, j = torch.triu_indices(len(classes), len(classes), 1, device=vectors.device)
    ranked = options.model_copy(update={"in_batch": 0.0})
    loss = mixture(vectors[i], vectors[j], (classes[i] == classes[j]).float(), ranked)
    order = classes.argsort(stable=True)
    following = order.roll(-1)
    # The last of a class is followed by one of another, and is the partner of the one before it.
    together = classes[order] == classes[following]
    left, right = order[together], following[together]
    if options.in_batch and len(left):
        pairs = torch.stack([classes[left], classes[right]])
        alone = options.model_copy(update={"cosine": 0.0, "angle": 0.0})
        loss = loss + mixture(vectors[left], vectors[right], torch.ones_like(left, dtype=torch.float32), alone, pairs)
    return loss


def ranking(likeness: Tensor, scores: Tensor, scale: float) -> Tensor:
    """How badly likenesses are ordered: ``log(1 + sum exp(scale * (likeness_j - likeness_i)))`` over score_i > score_j.

    CoSENT's form (Su 2022). The sum over i and j is taken along the sorted scores, in O(P log P) time and O(P) memory.

    Args:
        likeness: (P,) of each pair. scores: (P,). scale: 1 / temperature.
    """
    order = scores.argsort(stable=True)
    ranks = torch.unique(scores[order], return_inverse=True)[1]
    logits = scale * likeness[order].float()
    below = logits.logcumsumexp(0)  # over all pairs so far; those of a lower score end where their rank begins
    first = torch.searchsorted(ranks, ranks)
    counted = first > 0
    terms = below[(first - 1).clamp_min(0)] - logits
    return F.softplus(terms[counted].logsumexp(0)) if counted.any() else likeness.sum() * 0.0


def cosine(left: Tensor, right: Tensor, scores: Tensor, scale: float = 20.0) -> Tensor:
    """Cosine objective: `ranking` by ``cos(left, right)`` (equation 1 of the paper, in CoSENT's form)."""
    _check(left, right, scores)
    return ranking((unit(left) * unit(right)).sum(1), scores, scale)


def in_batch(
    left: Tensor, right: Tensor, scores: Tensor, scale: float = 20.0, classes: Tensor | None = None
) -> Tensor:  # fmt: skip
    """In-batch negatives: each text of a pair that belongs together picks its partner among all texts of the batch.

    ``-log(exp(s_ip) / sum_n exp(s_in))`` with ``s = scale * cos``, over all 2P texts, i itself left out; averaged over
    the 2P texts, where one whose pair does not belong together counts 0 (equation 2 of the paper).

    Args:
        classes: (2, P) class numbers of left and right texts: a text of the same class as i is then not a negative.
            None: every other text is one, as in the authors' code.
    """
    _check(left, right, scores)
    vectors = torch.cat([unit(left), unit(right)])
    count = len(scores)
    numbers = torch.arange(2 * count, device=vectors.device)
    partner = (numbers + count) % (2 * count)
    with in_32_bits(vectors.device):  # half precision cannot tell the nearest negatives apart
        logits = scale * vectors @ vectors.T
    excluded = numbers[:, None] == numbers
    if classes is not None:
        flat = classes.reshape(-1)
        excluded |= (flat[:, None] == flat) & (numbers != partner[:, None])
    losses = F.cross_entropy(logits.masked_fill(excluded, -math.inf), partner, reduction="none")
    return torch.where((scores >= POSITIVE).repeat(2), losses, 0.0).mean()


def angle(left: Tensor, right: Tensor, scores: Tensor, scale: float = 20.0, form: AngleForm = "reference") -> Tensor:
    """Angle objective: `ranking` by the angle between two texts in complex space (equation 6 of the paper).

    The first half of a vector is the real part, the second half the imaginary part of D/2 complex numbers.

    ``paper``: the phase difference that the paper defines, see `phase_difference`; the smaller, the more alike.
    ``reference``: what the authors' code ranks by, see `reference_likeness`.

    Raises:
        ValueError: D is odd, or an unknown form.
    """
    _check(left, right, scores)
    if form == "paper":
        return ranking(-phase_difference(left, right), scores, scale)
    if form == "reference":
        return ranking(reference_likeness(left, right), scores, scale)
    raise ValueError(f"unknown form '{form}' of the angle objective; use 'reference' or 'paper'")


def phase_difference(left: Tensor, right: Tensor) -> Tensor:
    """(P, D) and (P, D) -> (P,) mean of ``|arg(z_k / w_k)|`` over the D/2 complex numbers, radians from 0 to pi.

    Symmetric, 0 for equal vectors and pi for opposite ones. Where z_k or w_k is 0 the difference is pi/2.
    """
    re, im = _quotient(left, right)
    known = (re.abs() + im.abs()) > TINY
    phase = torch.atan2(torch.where(known, im, 1.0).abs(), torch.where(known, re, 0.0))
    return phase.mean(1)


def reference_likeness(left: Tensor, right: Tensor) -> Tensor:
    """(P,) ``|sum_k (Re q_k + Im q_k)|`` with ``q = z conj(w) / (|z| |w|)``, as ``angle_emb`` computes it.

    With r the cosine and s the sum of the imaginary parts it is ``|r + s|``: changing sides turns it into ``|r - s|``,
    so it is not symmetric; and x and -x are as alike as x and x.
    """
    re, im = _quotient(unit(left), unit(right))
    return (re + im).sum(1).abs()


def _quotient(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts, (P, D/2), of ``z conj(w)``, which has the phase of z / w."""
    if left.shape[1] % 2:
        raise ValueError(
            f"vectors of {left.shape[1]} dimensions have no halves; the angle objective needs an even number"
        )
    (a, b), (c, d) = left.float().chunk(2, 1), right.float().chunk(2, 1)
    return a * c + b * d, b * c - a * d


def _check(left: Tensor, right: Tensor, scores: Tensor) -> None:
    pairs = (len(scores),)
    if left.shape != right.shape or left.shape[:1] != pairs or scores.ndim != 1:
        raise ValueError(
            f"pairs do not match: left {tuple(left.shape)}, right {tuple(right.shape)}, scores {tuple(scores.shape)}"
        )
