"""The loss that a head is trained by."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from plait.fusion.huse import HuseHead
from plait.objectives.huse import class_level, modal_gap, semantic_graph


def row_losses(
    head: nn.Module,
    features: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    targets: Tensor,
    label_smoothing: float,
) -> tuple[Tensor, Tensor]:
    """A head's answers and the loss of each row.

    Cross-entropy with label smoothing; for a `HuseHead` the sum of its three terms, weighted as the head says.

    Args:
        features: (B, D_s) float of each strand. present: (B,) bool of each strand. targets: (B,) int64.
        label_smoothing: in [0, 1).

    Returns:
        logits (B, K) and losses (B,).
    """
    if isinstance(head, HuseHead):
        embeddings = head.embed(features, present)
        answers = head.classify(embeddings)
        losses = class_level(answers, present, targets, label_smoothing)
        if head.graph:
            graph = semantic_graph(embeddings, present, targets, head.class_distance, head.margin)
            losses = losses + head.graph * graph
        if head.gap:
            losses = losses + head.gap * modal_gap(embeddings, present)
        return head.pool(answers, present), losses
    logits = head(features, present)
    return logits, F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
