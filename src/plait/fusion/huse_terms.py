"""The three loss terms of HUSE (Narayana et al. 2019, "HUSE: Hierarchical Universal Semantic Embeddings").

Every term answers with one loss a row, (B,), so that callers may weight rows, and 0 for rows that have no part in it:
what is a mean over rows must leave these out. ``embeddings[s]`` is (B, D) and
``present[s]`` (B,) bool for each modality; what stands in the place of a missing modality has no effect, as long as it
is finite. Distances are cosine distances, 1 - cosine, between 0 and 2; a zero vector is at distance 1 from any other.
Gradients are finite everywhere; that of a zero vector is zero. All is computed in 32 bits, under autocast, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.devices import in_32_bits
from plait.fusion.vectors import unit

PerModality = Mapping[str, Tensor]


def class_level(logits: PerModality, present: PerModality, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Softmax cross-entropy of the shared classifier on each modality, averaged over the modalities a row has.

    ``logits[s]`` (B, K), ``targets`` (B,) int64 -> (B,); 0 for a row with no modality.
    """
    losses = {
        s: F.cross_entropy(x.float(), targets, reduction="none", label_smoothing=label_smoothing)
        for s, x in logits.items()
    }
    return _mean_over_modalities(losses, present)


def semantic_graph(
    embeddings: PerModality, present: PerModality, targets: Tensor, class_distance: Tensor, margin: float
) -> Tensor:
    """How far distances between embeddings are from those between the names of their classes.

    Images and texts of the batch are pooled. For embedding m it is the mean over all other embeddings n of
    ``sigma_mn * (d(E_m, E_n) - A[c_m, c_n])**2``, and for a row the mean over its embeddings; where every row has
    both modalities, the mean over rows is the sum over pairs by the number of pairs. 0 for a row with no modality.

    sigma is 0 where A and d are BOTH at least the margin, else 1: far classes that are far apart already may lie
    anywhere beyond it. This is wider than the equation 10 that public implementations quote from the paper, sigma = 1
    only where both are below the margin: that one never pulls rows of one class together once they are far apart.

    Args:
        targets: (B,) int64 class numbers.
        class_distance: A, (K, K), as `class_distances` makes it.
        margin: above 0.
    """
    modalities = sorted(embeddings)
    pooled = unit(torch.cat([embeddings[s] for s in modalities]))
    here = torch.cat([present[s] for s in modalities])
    classes = targets.repeat(len(modalities))
    wanted = class_distance[classes][:, classes]
    with in_32_bits(pooled.device):  # half precision is too coarse for differences of distances
        found = 1 - pooled @ pooled.T
    itself = torch.eye(len(pooled), dtype=torch.bool, device=pooled.device)
    pairs = here[:, None] & here & ~itself
    counted = pairs & ~((wanted >= margin) & (found >= margin))
    # The squares are masked, not multiplied, so that nothing of a pair left out comes through.
    squares = torch.where(counted, (found - wanted) ** 2, 0.0)
    losses = (squares.sum(1) / pairs.sum(1).clamp_min(1)).view(len(modalities), -1)
    return _mean_over_modalities(dict(zip(modalities, losses, strict=True)), present)


def modal_gap(embeddings: PerModality, present: PerModality) -> Tensor:
    """Cosine distance between the image and the text embedding of a row, (B,); 0 for a row that lacks either."""
    gap = 1 - (unit(embeddings["image"]) * unit(embeddings["text"])).sum(1)
    return torch.where(present["image"] & present["text"], gap, 0.0)


def class_distances(vectors: Tensor) -> Tensor:
    """(K, D) embeddings of class names -> (K, K) cosine distances, symmetric, in [0, 2], zero on the diagonal."""
    units = unit(vectors)
    with in_32_bits(units.device):
        return (1 - units @ units.T).clamp(0, 2).fill_diagonal_(0)


def _mean_over_modalities(losses: PerModality, present: PerModality) -> Tensor:
    """(B,) mean of the losses of the modalities that are present; 0 where there is none."""
    total = torch.stack([torch.where(present[s], x, 0.0) for s, x in losses.items()]).sum(0)
    return total / torch.stack([present[s] for s in losses]).sum(0).clamp_min(1)
