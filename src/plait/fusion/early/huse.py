"""Early fusion by one space for both modalities."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.errors import ConfigError
from plait.fusion.modality import MODALITIES, Shape, Standardise

SCALE = 10.0


class HuseHead(nn.Module):
    """Towers that end in one normalised space with one classifier (Narayana et al. 2019, "HUSE: Hierarchical
    Universal Semantic Embeddings").

    ``forward(features, present)``: features[s] (B, D_s) float, present[s] (B,) bool -> (B, K) log of the mean class
    probabilities of the modalities a row has; the class prior where both are missing.

    Unlike the paper's, embeddings are multiplied by a learned scale before the classifier, which starts at `SCALE`:
    the inner products of vectors of length 1 are too small for a softmax to become sure.

    Attributes:
        class_distance: (K, K) cosine distances of the class names, a buffer for the semantic-graph loss; at first all
            classes are at distance 1 from one another. Whoever trains the head sets it.
        graph, gap, margin: weights of the graph and gap losses and the margin of the former, for training only; they
            are not part of the state.

    Widths come from ``shape.towers[s]`` (KeyError where a modality has none), dropout from ``shape.tower_dropout``.

    Raises:
        ConfigError: the towers end in different widths.
    """

    class_distance: Tensor
    log_prior: Tensor

    def __init__(self, shape: Shape):
        super().__init__()
        ends = {s: shape.towers[s][-1] for s in MODALITIES}
        if len(set(ends.values())) > 1:
            raise ConfigError(
                f"head.huse.image ends in {ends['image']} units and head.huse.text in {ends['text']}; "
                "one space needs the same last number in both"
            )
        self.graph, self.gap, self.margin = 1.0, 1.0, 0.7
        self.register_buffer("log_prior", torch.zeros(shape.classes))
        self.register_buffer("class_distance", 1 - torch.eye(shape.classes))
        self.towers = nn.ModuleDict(
            {s: _tower(shape.dims[s], shape.towers[s], shape.tower_dropout) for s in MODALITIES}
        )
        self.scale = nn.Parameter(torch.tensor(SCALE))
        self.classifier = nn.Linear(ends[MODALITIES[0]], shape.classes)

    def prepare(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], log_prior: Tensor) -> None:
        """Take standardisation and class prior from the training rows."""
        for modality in MODALITIES:
            self.towers[modality][0].fit(features[modality][present[modality]])  # type: ignore[index]
        self.log_prior = log_prior

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


def _tower(dim: int, widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [Standardise(dim)]
    for wide, narrow in pairwise((dim, *widths)):
        layers += [nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])  # the embedding itself has either sign, and every unit
