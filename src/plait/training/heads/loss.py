"""The loss that a head is trained by, and the one that it is judged by."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from plait.devices import in_32_bits
from plait.fusion.early import EarlyHead
from plait.training.heads.logistic import Answers

Rows = Mapping[str, Tensor]


def row_losses(
    head: nn.Module, features: Rows, present: Rows, targets: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """A head's answers and the loss of each row, both computed in 32 bits, under autocast, too.

    Cross-entropy with label smoothing, or what an early head has in its place (`EarlyHead.losses`). The mean over the
    rows is the loss of the batch.

    Args:
        features: (B, D_s) float of each modality. present: (B,) bool of each modality. targets: (B,) int64.
        label_smoothing: in [0, 1).

    Returns:
        logits (B, K) and losses (B,).
    """
    features = {modality: x.float() for modality, x in features.items()}
    with in_32_bits(targets.device):
        if isinstance(head, EarlyHead):
            return head.losses(features, present, targets, label_smoothing)
        logits = head(features, present)
        return logits, F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)


def mean_loss(logits: Tensor, answers: Answers) -> float:
    """Weighted cross-entropy; 0 for no rows."""
    if not answers.weights.any():
        return 0.0
    losses = F.cross_entropy(logits, answers.targets, reduction="none")
    return float((losses * answers.weights).sum() / answers.weights.sum())
