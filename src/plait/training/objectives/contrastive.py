"""Contrastive objectives of two towers: the two sides of a row are near, those of different rows apart.

Every objective answers with one loss a row, (B,), the mean of both directions. ``image`` and ``text`` are (B, D) unit
vectors of the same B rows. ``positive`` (B, B) bool says which image belongs to which text, the diagonal at least;
``counted`` (B, B) bool which pairs count at all: what is neither positive nor counted is no false negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.devices import in_32_bits


def info_nce(
    image: Tensor, text: Tensor, positive: Tensor, counted: Tensor, scale: Tensor, hard: float = 0.0
) -> Tensor:  # fmt: skip
    """Symmetric InfoNCE (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
    Supervision"); with several positives a row it is their mean, as of Khosla et al. 2020, "Supervised Contrastive
    Learning".

    Args:
        scale: 1 / temperature.
        hard: concentration of the negatives, 0 or more: each is weighted by exp(hard * cosine), the weights of a row
            having mean 1 (Robinson et al. 2021, "Contrastive Learning with Hard Negative Samples").
    """
    with in_32_bits(image.device):
        found = image.float() @ text.float().T
    return (_one_way(found, positive, counted, scale, hard) + _one_way(found.T, positive.T, counted.T, scale, hard)) / 2


def _one_way(found: Tensor, positive: Tensor, counted: Tensor, scale: Tensor, hard: float) -> Tensor:
    logits = (scale * found + _hardness(found, positive, counted, hard)).masked_fill(~(positive | counted), -torch.inf)
    shares = logits - logits.logsumexp(1, keepdim=True)
    return -torch.where(positive, shares, 0.0).sum(1) / positive.sum(1)


def sigmoid(
    image: Tensor, text: Tensor, positive: Tensor, counted: Tensor, scale: Tensor, bias: Tensor, hard: float = 0.0
) -> Tensor:  # fmt: skip
    """A logistic regression on every pair (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training").

    Args:
        scale, bias: of the logits, ``scale * cosine + bias``.
        hard: as of `info_nce`.
    """
    with in_32_bits(image.device):
        found = image.float() @ text.float().T
    losses = F.softplus(torch.where(positive, -1.0, 1.0) * (scale * found + bias))
    losses = torch.where(positive | counted, losses, 0.0)
    ways = [(losses * _hardness(f, p, c, hard).exp()).sum(1) for losses, f, p, c in (
        (losses, found, positive, counted), (losses.T, found.T, positive.T, counted.T)
    )]  # fmt: skip
    return (ways[0] + ways[1]) / 2


def _hardness(found: Tensor, positive: Tensor, counted: Tensor, hard: float) -> Tensor:
    """(B, B) logarithms of the weights of negatives, of mean weight 1 in a row; 0 elsewhere. They send no gradient."""
    negative = counted & ~positive
    if not hard or not negative.any():
        return torch.zeros_like(found)
    raised = (hard * found.detach()).masked_fill(~negative, -torch.inf)
    mean = raised.logsumexp(1, keepdim=True) - negative.sum(1, keepdim=True).clamp_min(1).log()
    return torch.where(negative, raised - mean, 0.0)


def same(keys: Sequence[Tensor]) -> Tensor:
    """(B, B) bool: rows that are equal in any of some (B,) int64 keys; a key below 0 is equal to its own row alone."""
    rows = keys[0]
    found = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    for key in keys:
        found |= (key[:, None] == key) & (key >= 0)
    return found
