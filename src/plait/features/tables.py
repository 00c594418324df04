"""What the store has of pictures: a table for each network that an image encoder is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plait.data.images import DECODING
from plait.encoders.base import ImageEncoder
from plait.encoders.joined import JoinedImageEncoder
from plait.features.gather import Cache, Memory
from plait.features.store import FeatureStore


@dataclass(frozen=True)
class Lacking:
    """Pictures that the same networks have not seen.

    Attributes:
        encoder: these networks, side by side. hashes: of the pictures.
    """

    encoder: ImageEncoder
    hashes: list[bytes]


class Tables:
    """Features of pictures by an image encoder; networks that stand side by side keep theirs apart.

    So what one of them has made of a picture is there for every other company it is put in.

    Args:
        store: None: features of at most so many pictures are held in memory.
    """

    def __init__(self, encoder: ImageEncoder, store: FeatureStore | None, rows: int):
        self._whole = encoder
        self.parts = [encoder] if store is None else parts_of(encoder)
        self.caches: dict[str, Cache] = {
            one.fingerprint: Memory(rows, one.dim) if store is None else store.table(_name(one), one.name)
            for one in self.parts
        }

    @property
    def shared(self) -> bool:
        """Whether processes that encode together share them."""
        return any(cache.shared for cache in self.caches.values())

    @property
    def columns(self) -> list[tuple[Cache, int]]:
        """Where the features of each network are, and how many it gives."""
        return [(self.caches[one.fingerprint], one.dim) for one in self.parts]

    def renew(self) -> None:
        """See what other processes have added."""
        for cache in self.caches.values():
            cache.renew()

    def problems(self) -> dict[bytes, str]:
        """Why which pictures cannot be read."""
        return {value: reason for cache in self.caches.values() for value, reason in cache.problems().items()}

    def lacking(self, hashes: Sequence[bytes]) -> list[Lacking]:
        """What is to be encoded, by what; pictures stay in order."""
        by: dict[bytes, list[str]] = {}
        for name, cache in self.caches.items():
            for value in cache.missing(hashes):
                by.setdefault(value, []).append(name)
        found: dict[tuple[str, ...], list[bytes]] = {}
        for value in hashes:
            if value in by:
                found.setdefault(tuple(by[value]), []).append(value)
        return [Lacking(self._side_by_side(names), values) for names, values in found.items()]

    def _side_by_side(self, names: tuple[str, ...]) -> ImageEncoder:
        chosen = [one for one in self.parts if one.fingerprint in names]
        if len(chosen) == len(self.parts):
            return self._whole
        return chosen[0] if len(names) == 1 else JoinedImageEncoder(chosen)

    def append(
        self, encoder: ImageEncoder, hashes: Sequence[bytes], vectors: np.ndarray, problems: Sequence[str | None]
    ) -> None:
        """Add what one of `lacking` has made of some of its pictures: (B, D), D of all its networks."""
        parts = [encoder] if encoder.fingerprint in self.caches else parts_of(encoder)
        ends = np.cumsum([one.dim for one in parts]).tolist()
        columns = {one.fingerprint: vectors[:, end - one.dim : end] for one, end in zip(parts, ends, strict=True)}
        for name, some in columns.items():  # one table of a network that stands beside itself
            self.caches[name].append(hashes, some, problems)


def parts_of(encoder: ImageEncoder) -> list[ImageEncoder]:
    """The networks that stand side by side in an image encoder."""
    return encoder.parts if isinstance(encoder, JoinedImageEncoder) else [encoder]


def _name(encoder: ImageEncoder) -> str:
    return f"{encoder.fingerprint}-{DECODING}"
