"""The loss that a head is trained by."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from plait.devices import in_32_bits
from plait.fusion.early.huse import HuseHead
from plait.training.objectives.huse import class_level, modal_gap, semantic_graph

Rows = Mapping[str, Tensor]


def row_losses(
    head: nn.Module, features: Rows, present: Rows, targets: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """A head's answers and the loss of each row, both computed in 32 bits, under autocast, too.

    Cross-entropy with label smoothing; for a `HuseHead` the sum of its three terms, weighted as the head says. The mean
    over the rows is the loss of the batch: a term of HUSE's counts by its mean over the rows that it is defined for
    (the gap: those with both modalities, the others: those with any), however many rows lack a modality.

    Args:
        features: (B, D_s) float of each modality. present: (B,) bool of each modality. targets: (B,) int64.
        label_smoothing: in [0, 1).

    Returns:
        logits (B, K) and losses (B,).
    """
    features = {modality: x.float() for modality, x in features.items()}
    with in_32_bits(targets.device):
        if isinstance(head, HuseHead):
            return _huse_losses(head, features, present, targets, label_smoothing)
        logits = head(features, present)
        return logits, F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)


def _huse_losses(
    head: HuseHead, features: Rows, present: Rows, targets: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    embeddings = head.embed(features, present)
    answers = head.classify(embeddings)
    any_modality, both = present["image"] | present["text"], present["image"] & present["text"]
    losses = _shared(class_level(answers, present, targets, label_smoothing), any_modality)
    if head.graph:
        graph = semantic_graph(embeddings, present, targets, head.class_distance, head.margin)
        losses = losses + head.graph * _shared(graph, any_modality)
    if head.gap:
        losses = losses + head.gap * _shared(modal_gap(embeddings, present), both)
    return head.pool(answers, present), losses


def _shared(losses: Tensor, counted: Tensor) -> Tensor:
    """(B,) losses, 0 where not counted, enlarged so that their mean over all rows is that over those counted."""
    return losses * (len(losses) / counted.sum().clamp_min(1))
