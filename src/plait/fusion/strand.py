"""Heads that read one strand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

STRANDS = ("image", "text")


@dataclass(frozen=True)
class Shape:
    """Sizes a head is built from.

    Attributes:
        dims: feature dimension of each strand.
        classes: K.
        kind: ``linear`` or ``mlp``, for heads of one strand.
        hidden: width of hidden layers.
        dropout: on hidden units.
        towers: widths of the layers of each strand, for early fusion by towers or HUSE; else empty.
        tower_dropout: on the hidden units of HUSE's towers.
    """

    dims: Mapping[str, int]
    classes: int
    kind: str = "linear"
    hidden: int = 512
    dropout: float = 0.5
    towers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    tower_dropout: float = 0.0


class Standardise(nn.Module):
    """Subtract the mean and divide by the standard deviation of the training rows; (B, D) -> (B, D)."""

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, features: Tensor) -> None:
        """Take mean and scale from (N, D) training features; a constant column is left unscaled."""
        if len(features) < 2:
            return
        std, mean = torch.std_mean(features, dim=0)
        # A floor relative to the typical column keeps nearly constant ones from being blown up.
        floor = 1e-2 * std.median().clamp_min(1e-6)
        self.mean = mean
        self.scale = 1 / torch.where(std > floor, std, torch.ones_like(std))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.scale


class StrandHead(nn.Module):
    """Logits from one strand; the log prior of the classes where that strand is missing.

    ``forward(features, present)``: features[strand] (B, D) float, present[strand] (B,) bool -> (B, K).
    """

    def __init__(self, strand: str, shape: Shape):
        super().__init__()
        self.strand = strand
        dim = shape.dims[strand]
        self.standardise = Standardise(dim)
        self.register_buffer("log_prior", torch.zeros(shape.classes))
        layers: list[nn.Module] = []
        if shape.kind == "mlp":
            layers += [nn.Linear(dim, shape.hidden), nn.LayerNorm(shape.hidden), nn.GELU(), nn.Dropout(shape.dropout)]
            dim = shape.hidden
        output = nn.Linear(dim, shape.classes)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        self.layers = nn.Sequential(*layers, output)

    def prepare(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], log_prior: Tensor) -> None:
        """Take standardisation and class prior from the training rows."""
        self.standardise.fit(features[self.strand][present[self.strand]])
        self.log_prior = log_prior

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        logits = self.layers(self.standardise(features[self.strand]))
        return torch.where(present[self.strand][:, None], logits, self.log_prior)


def prior(targets: Tensor, classes: int) -> Tensor:
    """(N,) class numbers -> (K,) log share of each class, with one added to every count (Laplace)."""
    counts = torch.bincount(targets, minlength=classes).float() + 1
    return (counts / counts.sum()).log()
