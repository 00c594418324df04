"""What every early head offers, and what most of them do alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.config import HeadConfig
from plait.fusion.modality import Shape
from plait.matrix import Matrix

Rows = Mapping[str, Tensor]


class EarlyHead(nn.Module):
    """Early (feature-level) fusion: a network on the features of both modalities.

    ``forward(features, present)``: features[s] (B, D_s) float, present[s] (B,) bool -> (B, K) logits; the class prior
    where both modalities are missing.

    A head is a file of its own here, named as ``head.early`` names it, with a subclass `Head`.

    Attributes:
        note: what a table calls it.
        reads_class_names: whether `begin` wants embeddings of the class names.
        log_prior: (K,) what a row with neither modality gets.
    """

    note: ClassVar[str]
    reads_class_names: ClassVar[bool] = False
    log_prior: Tensor

    def __init__(self, shape: Shape):
        super().__init__()
        self.register_buffer("log_prior", torch.zeros(shape.classes))

    @classmethod
    def sizes(cls, config: HeadConfig) -> dict[str, Any]:
        """Fields of `Shape` that this head takes from the configuration, besides hidden width and dropout."""
        return {}

    def prepare(self, features: Mapping[str, Matrix], present: Rows, log_prior: Tensor) -> None:
        """Take the class prior, and whatever statistics the head needs, from the training rows."""
        self.log_prior = log_prior

    def begin(self, config: HeadConfig, class_vectors: Tensor | None) -> None:
        """Take what only training needs.

        Args:
            class_vectors: (K, D) embeddings of the class names; None where it does not read them, or nothing encodes
                them.
        """

    def losses(self, features: Rows, present: Rows, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Answers (B, K) and the loss of each row (B,), whose mean is the loss of the batch: cross-entropy."""
        logits: Tensor = self(features, present)
        return logits, F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
