"""A joint space: two towers on features that end in one space, where a picture is near the texts that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.fusion.dropout import Dropout
from plait.fusion.modality import MODALITIES, Standardise


@dataclass(frozen=True)
class SpaceSpec:
    """What it takes to build a `JointSpace` again: columns of each modality's features, sizes of the towers."""

    dims: Mapping[str, int]
    dim: int
    hidden: int
    dropout: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a folder's JSON."""
        return asdict(self) | {"dims": dict(self.dims)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SpaceSpec:
        """The reverse of `as_json`; raises KeyError, TypeError or ValueError on anything else."""
        dims = {modality: int(values["dims"][modality]) for modality in MODALITIES}
        return cls(dims, int(values["dim"]), int(values["hidden"]), float(values["dropout"]))


RIDGE = 0.1  # of the variance of a standardised column


def canonical(image: Tensor, text: Tensor, dim: int, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Regularised canonical correlation analysis (Vinod 1976), each direction weighted by the root of its correlation.

    Args:
        image: (N, D) and text: (N, E), standardised, row by row.
        dim: directions, at most. ridge: added to the variance of every column.

    Returns:
        (D, K) and (E, K) maps, where K is the least of `dim`, D and E.
    """
    image, text = image.double(), text.double()
    whites = [_white(one.T @ one / len(one), ridge) for one in (image, text)]
    left, shares, right = torch.linalg.svd(whites[0] @ (image.T @ text / len(image)) @ whites[1], full_matrices=False)
    weights = shares[:dim].sqrt()
    return (whites[0] @ left[:, :dim] * weights).float(), (whites[1] @ right[:dim].T * weights).float()


def _white(covariance: Tensor, ridge: float) -> Tensor:
    """Inverse square root of a covariance, with a ridge."""
    values, vectors = torch.linalg.eigh(covariance)
    white: Tensor = vectors / (values.clamp_min(0) + ridge).sqrt() @ vectors.T
    return white


class Tower(nn.Module):
    """(B, D) features -> (B, dim): a linear map of the standardised features, and an MLP's correction of it."""

    def __init__(self, features: int, spec: SpaceSpec):
        super().__init__()
        self.standardise = Standardise(features)
        self.drop = Dropout(spec.dropout)
        self.linear = nn.Linear(features, spec.dim)
        self.mlp = nn.Sequential(nn.Linear(features, spec.hidden), nn.GELU(), Dropout(spec.dropout))
        self.last = nn.Linear(spec.hidden, spec.dim)

    def forward(self, features: Tensor) -> Tensor:
        known = self.drop(self.standardise(features))
        out: Tensor = self.linear(known) + self.last(self.mlp(known))
        return out


class JointSpace(nn.Module):
    """Towers of both modalities that end on one unit sphere, where similarity is the cosine."""

    def __init__(self, spec: SpaceSpec):
        super().__init__()
        self.spec = spec
        self.towers = nn.ModuleDict({modality: Tower(spec.dims[modality], spec) for modality in MODALITIES})

    def prepare(self, features: Mapping[str, Tensor]) -> None:
        """Take standardisation from the training rows, ``features[s]`` (N, D_s), and begin at `canonical` maps."""
        towers = self._towers()
        known = []
        for modality, tower in towers.items():
            tower.standardise.fit(features[modality])
            known.append(tower.standardise(features[modality]))
        for tower, map_ in zip(towers.values(), canonical(known[0], known[1], self.spec.dim), strict=True):
            with torch.no_grad():
                for weights in (tower.linear.weight, tower.linear.bias, tower.last.weight, tower.last.bias):
                    weights.zero_()
                tower.linear.weight[: map_.shape[1]] = map_.T

    def _towers(self) -> dict[str, Tower]:
        return {modality: cast(Tower, self.towers[modality]) for modality in MODALITIES}

    def embed(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(B, dim) embeddings of each modality given, of length 1; zeros where the modality is missing."""
        return {
            s: torch.where(present[s][:, None], F.normalize(self.towers[s](x), dim=1, eps=1e-6), 0.0)
            for s, x in features.items()
        }
