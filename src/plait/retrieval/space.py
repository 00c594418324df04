"""Spaces that rows and queries are placed in: of a joint space's towers, of HUSE's, or of a run's features themselves.

A row's vector has length 1, a query's at most 1, and what is near is similar: the score of a row is the cosine of what
the query has with the same of the row, the mean of both where the query has a picture and a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from plait.encoders.base import fingerprint
from plait.errors import DataError, RunError
from plait.fusion.early import EarlyHead
from plait.fusion.modality import MODALITIES
from plait.inference.engine import Engine, FeaturesOf
from plait.inference.torch_head import TorchHead, to_inputs
from plait.runs.open import is_space, load, load_space

_BLOCK = 8192


class Embeds(Protocol):
    """Towers that end on one unit sphere: `JointSpace`, HUSE's head."""

    def embed(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]: ...


@dataclass
class Space:
    """An engine's encoders, and what makes one vector of a row's features.

    Attributes:
        engine: reads, decodes and encodes.
        kind: ``joint``, ``huse``, or ``features``: those of each modality side by side, which compares pictures with
            pictures and words with words.
        towers: of the first two kinds; None for features.
        columns: of each modality's features, those that count.
        centre: what is taken from features before they are compared, by modality; empty until `fit`.
    """

    engine: Engine
    kind: str
    towers: Embeds | None
    columns: dict[str, list[int]]
    dim: int
    centre: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What a query may have."""
        return self.engine.modalities

    @property
    def fingerprint(self) -> str:
        """32 hex digits: equal where encoders, towers and the cleaning of texts are, so that vectors agree."""
        encoders = self.engine.encoders
        prints = [one.fingerprint for one in (encoders.image, *encoders.text) if one is not None]
        weights: Mapping[str, Tensor] = self.towers.state_dict() if isinstance(self.towers, torch.nn.Module) else {}
        known = {"kind": self.kind, "encoders": prints, "clean": self.engine.config.text.clean, "columns": self.columns}
        return fingerprint(known, weights)

    def fit(self, features: FeaturesOf) -> None:
        """Take the mean of the rows to be indexed: features of networks share a large part, which tells nothing."""
        if self.kind == "features":
            for modality, one in features.items():
                some = one.vectors[one.present][:, self.columns[modality]]
                self.centre[modality] = some.mean(0) if len(some) else np.zeros(some.shape[1], np.float32)

    def rows(self, features: FeaturesOf) -> np.ndarray:
        """(N, dim) float32 vectors of rows to be found, of length 1; zeros for rows that have nothing."""
        if self.towers is not None:
            return _unit(sum(self._embedded(features).values()))  # type: ignore[arg-type]
        sides = self._sides(features)
        # What a row lacks goes into a column of its own, which no query has: all rows are of one length.
        lacking = sum((~features[s].present).astype(np.float32) for s in self.modalities)
        whole = np.concatenate([*sides.values(), np.sqrt(lacking)[:, None]], axis=1, dtype=np.float32)
        whole[lacking == len(sides)] = 0
        return whole / np.float32(np.sqrt(len(sides)))

    def queries(self, features: FeaturesOf) -> np.ndarray:
        """(N, dim) float32 vectors of queries; the inner product with a row's is the score."""
        if self.towers is not None:
            return _unit(sum(self._embedded(features).values()))  # type: ignore[arg-type]
        sides = self._sides(features)
        given = np.maximum(1, sum(one.present.astype(np.float32) for one in features.values()))
        whole = np.concatenate([*sides.values(), np.zeros((len(given), 1), np.float32)], axis=1)
        found: np.ndarray = whole * (np.sqrt(len(sides)) / given).astype(np.float32)[:, None]
        return found

    def _embedded(self, features: FeaturesOf) -> dict[str, np.ndarray]:
        assert self.towers is not None
        inputs, parts = to_inputs(features), []
        with torch.inference_mode():
            for start in range(0, len(inputs), _BLOCK):
                part = inputs.rows(slice(start, start + _BLOCK))
                dense = {s: x[:, self.columns[s]] for s, x in part.features.items()}
                parts.append(self.towers.embed(dense, part.present))
        return {s: torch.cat([part[s] for part in parts]).numpy() for s in inputs.features}

    def _sides(self, features: FeaturesOf) -> dict[str, np.ndarray]:
        """Centred features of length 1, by modality; zeros where it is missing."""
        found = {}
        for modality in self.modalities:
            one, centre = features[modality], self.centre.get(modality)
            vectors = one.vectors[:, self.columns[modality]]
            if centre is not None:
                vectors = vectors - centre
            found[modality] = np.where(one.present[:, None], _unit(vectors), np.float32(0))
        return found


def open_space(folder: str | Path, device: str = "auto") -> Space:
    """The space of a folder: of `plait tune joint`, or a run.

    A run with HUSE's head has that head's space; any other's is that of its features.

    Raises:
        RunError: as `plait.load`, and for an export.
    """
    folder = Path(folder)
    if is_space(folder):
        engine, towers = load_space(folder, device)
        columns = {s: list(range(towers.spec.dims[s])) for s in MODALITIES}
        return Space(engine, "joint", towers, columns, towers.spec.dim)
    return space_of(load(folder, device))


def space_of(engine: Engine) -> Space:
    """The space of a run that is open. Raises RunError for an export."""
    if not isinstance(engine.head, TorchHead):
        raise RunError(f"'{engine.folder}' is an export, which only labels; give the run that it was made of")
    model, shape = engine.head.model, engine.head.spec.shape
    columns = {s: shape.dense(s) for s in engine.modalities}
    if isinstance(model.fusion, EarlyHead) and hasattr(model.fusion, "embed"):
        return Space(engine, "huse", model.fusion, columns, shape.towers["image"][-1])  # type: ignore[arg-type]
    return Space(engine, "features", None, columns, sum(len(one) for one in columns.values()) + 1)


def require_query(space: Space, image: bool, text: bool) -> None:
    """Raise DataError where a query has nothing that the space reads."""
    from plait.errors import option

    if not image and not text:
        flags = option("--image FILE, --text TEXT", "image, text")
        raise DataError(f"the query has neither an image nor a text; give {flags} or both")
    if not (image and "image" in space.modalities) and not (text and "text" in space.modalities):
        reads = space.modalities[0]
        raise DataError(f"this index reads only {'images' if reads == 'image' else 'texts'}; give the query one")


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return found
