"""Early fusion by one space for both modalities."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.config import HeadConfig
from plait.errors import ConfigError
from plait.fusion.dropout import Dropout
from plait.fusion.early.base import EarlyHead, Rows
from plait.fusion.huse_terms import class_distances, class_level, modal_gap, semantic_graph
from plait.fusion.modality import MODALITIES, Shape, Standardise
from plait.matrix import Matrix, some

SCALE = 10.0


class Head(EarlyHead):
    """Towers that end in one normalised space with one classifier (Narayana et al. 2019, "HUSE: Hierarchical
    Universal Semantic Embeddings").

    ``forward(features, present)``: features[s] (B, D_s) float, present[s] (B,) bool -> (B, K) log of the mean class
    probabilities of the modalities a row has; the class prior where both are missing.

    Unlike the paper's, embeddings are multiplied by a learned scale before the classifier, which starts at `SCALE`:
    the inner products of vectors of length 1 are too small for a softmax to become sure.

    Attributes:
        class_distance: (K, K) cosine distances of the class names, a buffer for the semantic-graph loss; at first all
            classes are at distance 1 from one another; see `begin`.
        graph, gap, margin: weights of the graph and gap losses and the margin of the former, for training only; they
            are not part of the state.

    Widths come from ``shape.towers[s]`` (KeyError where a modality has none), dropout from ``shape.tower_dropout``.

    Raises:
        ConfigError: the towers end in different widths.
    """

    note = "HUSE"
    reads_class_names = True
    class_distance: Tensor

    def __init__(self, shape: Shape):
        super().__init__(shape)
        ends = {s: shape.towers[s][-1] for s in MODALITIES}
        if len(set(ends.values())) > 1:
            raise ConfigError(
                f"head.huse.image ends in {ends['image']} units and head.huse.text in {ends['text']}; "
                "one space needs the same last number in both"
            )
        self.graph, self.gap, self.margin = 1.0, 1.0, 0.7
        self.register_buffer("class_distance", 1 - torch.eye(shape.classes))
        self.towers = nn.ModuleDict(
            {s: _tower(shape.dims[s], shape.towers[s], shape.tower_dropout) for s in MODALITIES}
        )
        self.scale = nn.Parameter(torch.tensor(SCALE))
        self.classifier = nn.Linear(ends[MODALITIES[0]], shape.classes)

    @classmethod
    def sizes(cls, config: HeadConfig) -> dict[str, Any]:
        huse = config.huse
        return {"towers": {"image": huse.image, "text": huse.text}, "tower_dropout": huse.dropout}

    def begin(self, config: HeadConfig, class_vectors: Tensor | None) -> None:
        """Take the weights of the losses, and the distances of the class names; without any all are equally far."""
        huse = config.huse
        self.graph, self.gap, self.margin = huse.graph, huse.gap, huse.margin
        classes = torch.eye(len(self.log_prior)) if class_vectors is None else class_vectors
        self.class_distance = class_distances(classes)

    def losses(self, features: Rows, present: Rows, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """The sum of the three terms, weighted as the head says.

        A term counts by its mean over the rows that it is defined for (the gap: those with both modalities, the
        others: those with any), however many rows lack a modality.
        """
        embeddings = self.embed(features, present)
        answers = self.classify(embeddings)
        any_modality, both = present["image"] | present["text"], present["image"] & present["text"]
        losses = _shared(class_level(answers, present, targets, label_smoothing), any_modality)
        if self.graph:
            graph = semantic_graph(embeddings, present, targets, self.class_distance, self.margin)
            losses = losses + self.graph * _shared(graph, any_modality)
        if self.gap:
            losses = losses + self.gap * _shared(modal_gap(embeddings, present), both)
        return self.pool(answers, present), losses

    def prepare(self, features: Mapping[str, Matrix], present: Mapping[str, Tensor], log_prior: Tensor) -> None:
        """Take standardisation and class prior from the training rows."""
        for modality in MODALITIES:
            self.towers[modality][0].fit(some(features[modality], present[modality].nonzero()[:, 0]))  # type: ignore[index]
        super().prepare(features, present, log_prior)

    def embed(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(B, D) embeddings of each modality, of length 1; zeros where the modality is missing."""
        return {
            s: torch.where(present[s][:, None], F.normalize(self.towers[s](features[s]), dim=1, eps=1e-6), 0.0)
            for s in MODALITIES
        }

    def classify(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(B, K) logits of the shared classifier from each modality's embeddings."""
        return {s: self.classifier(self.scale * x) for s, x in embeddings.items()}

    def pool(self, logits: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, K) log of the mean probabilities of the modalities that are present."""
        weights = torch.stack([present[s] for s in MODALITIES]).float()  # (S, B)
        shares = torch.stack([F.softmax(logits[s], dim=1) for s in MODALITIES])  # (S, B, K)
        mean = (weights[..., None] * shares).sum(0) / weights.sum(0).clamp_min(1)[:, None]
        return torch.where((weights.sum(0) > 0)[:, None], mean.clamp_min(1e-12).log(), self.log_prior)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        return self.pool(self.classify(self.embed(features, present)), present)


def _shared(losses: Tensor, counted: Tensor) -> Tensor:
    """(B,) losses, 0 where not counted, enlarged so that their mean over all rows is that over those counted."""
    return losses * (len(losses) / counted.sum().clamp_min(1))


def _tower(dim: int, widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [Standardise(dim)]
    for wide, narrow in pairwise((dim, *widths)):
        layers += [nn.Linear(wide, narrow), nn.ReLU(), Dropout(dropout)]
    return nn.Sequential(*layers[:-2])  # the embedding itself has either sign, and every unit
