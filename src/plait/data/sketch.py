"""Which rows an encoder or a run has learnt from, as a small file beside its weights.

Rows are told by 64 bits of their keys (`Pairs.row_keys`). Of more than `MOST` keys only those below a limit are kept,
so that what is known of a row is exact or nothing (FracMinHash: Irber et al. 2022), and shares are estimated from the
rows whose keys lie below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plait.data.pairs import Pairs, text_key
from plait.errors import DataError, EncoderError
from plait.progress import say

SEEN = "seen.safetensors"  # the file of a sketch, in the folder of an encoder or a run
MOST = 2**20  # keys of a sketch: 8 MiB
EVERY = 2**64  # the limit of a sketch that keeps every key
BOTH = ("image", "text")


def _none() -> np.ndarray:
    return np.zeros(0, np.uint64)


def _numbers(keys: Iterable[bytes | None]) -> np.ndarray:
    """The first 64 bits of each key, 0 where there is none: (N,) uint64."""
    heads = b"".join(bytes(8) if key is None else key[:8] for key in keys)
    return np.frombuffer(heads, ">u8").astype(np.uint64)


@dataclass(frozen=True)
class _Rows:
    """N rows by their numbers: whole pairs (N,), and each modality alone. 0 stands for nothing."""

    pairs: np.ndarray
    sides: dict[str, np.ndarray]

    @classmethod
    def of(cls, pairs: Pairs) -> _Rows:
        return cls(_numbers(pairs.row_keys), {"image": _numbers(pairs.image_keys), "text": _numbers(pairs.text_keys)})

    @property
    def lone(self) -> bool:
        """Whether no row has both modalities."""
        return not (self.sides["image"].astype(bool) & self.sides["text"].astype(bool)).any()


@dataclass(frozen=True)
class Keys:
    """Sorted distinct uint64 numbers of rows.

    Attributes:
        pairs: of rows among which some had both modalities.
        sides: of what these rows have in a modality; by these they are known to rows of which none has both.
        alone: of rows none of which had both modalities; by these any row is known to have been among them.
    """

    pairs: np.ndarray = field(default_factory=_none)
    sides: np.ndarray = field(default_factory=_none)
    alone: np.ndarray = field(default_factory=_none)

    @classmethod
    def of(cls, rows: _Rows, modalities: Sequence[str] = BOTH) -> Keys:
        """Of the rows that have one of the modalities."""
        sides = [rows.sides[modality] for modality in modalities]
        own = _sorted(sides)
        if rows.lone:
            return cls(alone=own)
        return cls(_sorted([rows.pairs[np.any([side > 0 for side in sides], axis=0)]]), own)

    def __or__(self, other: Keys) -> Keys:
        return Keys(*(_sorted([getattr(self, name), getattr(other, name)]) for name in KINDS))

    def below(self, limit: int) -> Keys:
        return Keys(*(numbers[numbers <= np.uint64(limit - 1)] for numbers in (self.pairs, self.sides, self.alone)))

    def matches(self, rows: _Rows) -> list[tuple[np.ndarray, np.ndarray]]:
        """What each kind of key says: the (N,) numbers looked up, and which of them are among these."""
        side = np.concatenate([self.alone, self.sides]) if rows.lone else self.alone
        looked = [(rows.pairs, self.pairs), *((numbers, side) for numbers in rows.sides.values())]
        return [(numbers, np.isin(numbers, known) & (numbers > 0)) for numbers, known in looked]

    def among(self, rows: _Rows) -> np.ndarray:
        """(N,) bool: known to be among these."""
        found: np.ndarray = np.any([match for _, match in self.matches(rows)], axis=0)
        return found


KINDS = ("pairs", "sides", "alone")


def _sorted(parts: list[np.ndarray]) -> np.ndarray:
    numbers = np.unique(np.concatenate(parts))
    return numbers[numbers > 0]


@dataclass(frozen=True)
class Sketch:
    """What an encoder or a run has seen of rows.

    Attributes:
        learnt: rows that weights were fitted to, with their labels.
        met: rows that only chose epochs and the like, or were read without their labels.
        limit: keys of this size and above are unknown.
    """

    learnt: Keys = Keys()
    met: Keys = Keys()
    limit: int = EVERY

    @classmethod
    def of(cls, learnt: Pairs | None, met: Sequence[Pairs] = (), modalities: Sequence[str] = BOTH) -> Sketch:
        """A sketch of rows, of those that have one of the modalities that are read."""
        first = Keys() if learnt is None else Keys.of(_Rows.of(learnt), modalities)
        second = Keys()
        for pairs in met:
            second |= Keys.of(_Rows.of(pairs), modalities)
        return _fitting(first, second, EVERY)

    @classmethod
    def of_texts(cls, learnt: Iterable[str], met: Iterable[str]) -> Sketch:
        """A sketch of texts that belong to no pairs of image and text."""
        first, second = (Keys(alone=_sorted([_numbers(text_key(text) for text in texts)])) for texts in (learnt, met))
        return _fitting(first, second, EVERY)

    def __or__(self, other: Sketch) -> Sketch:
        return _fitting(self.learnt | other.learnt, self.met | other.met, min(self.limit, other.limit))

    def learnt_from(self, pairs: Pairs) -> np.ndarray:
        """(N,) bool: rows that are known to have been learnt from."""
        return self.learnt.among(_Rows.of(pairs))

    def seen(self, pairs: Pairs) -> np.ndarray:
        """(N,) bool: rows that are known to have been learnt from or met."""
        return (self.learnt | self.met).among(_Rows.of(pairs))

    def share_learnt(self, pairs: Pairs) -> float:
        """The share of rows that were learnt from, 0 to 1; estimated where a limit leaves rows unknown."""
        return self._share(self.learnt, pairs)

    def share_seen(self, pairs: Pairs) -> float:
        """The share of rows that were learnt from or met, 0 to 1; estimated as `share_learnt` is."""
        return self._share(self.learnt | self.met, pairs)

    def _share(self, keys: Keys, pairs: Pairs) -> float:
        rows = _Rows.of(pairs)
        if self.limit == EVERY:
            return float(keys.among(rows).mean()) if len(pairs) else 0.0
        shares = [0.0]
        for numbers, match in keys.matches(rows):
            told = ((numbers > 0) & (numbers <= np.uint64(self.limit - 1))).sum()
            shares.append(match.sum() / told * (numbers > 0).mean() if told else 0.0)
        return float(max(shares))

    def save(self, folder: Path) -> None:
        """Write `SEEN` into a folder."""
        from safetensors.numpy import save_file

        arrays = {f"{part}.{kind}": getattr(getattr(self, part), kind) for part in PARTS for kind in KINDS}
        save_file({**arrays, "largest": np.array([self.limit - 1], np.uint64)}, folder / SEEN)

    @classmethod
    def load(cls, folder: Path) -> Sketch | None:
        """What `save` wrote; None where the folder has no such file. Raises EncoderError where it is damaged."""
        file = folder / SEEN
        if not file.is_file():
            return None
        from safetensors.numpy import load_file

        try:
            arrays: dict[str, Any] = load_file(file)
            parts = [Keys(*(arrays[f"{part}.{kind}"].astype(np.uint64) for kind in KINDS)) for part in PARTS]
            return cls(parts[0], parts[1], int(arrays["largest"][0]) + 1)
        except Exception as error:  # safetensors raises kinds of its own
            raise EncoderError(f"'{file}' is damaged ({error}); copy the folder again, or tune anew") from None


PARTS = ("learnt", "met")


def _fitting(learnt: Keys, met: Keys, limit: int) -> Sketch:
    """The sketch with the largest limit, a power of two of at most `limit`, that leaves no more than `MOST` keys."""
    while True:
        parts = [learnt, met] if limit == EVERY else [learnt.below(limit), met.below(limit)]
        if sum(len(getattr(keys, kind)) for keys in parts for kind in KINDS) <= MOST:
            return Sketch(parts[0], parts[1], limit)
        limit //= 2


def same_rows(pairs: Pairs, others: Pairs) -> np.ndarray:
    """(N,) bool: which of `pairs` are among `others`, as whole pairs; where either has no row with both modalities,
    by the one there is. What a sketch of `others` would say of `pairs`, and exact whatever their number."""
    return Keys.of(_Rows.of(others)).among(_Rows.of(pairs))


def seen_rows(known: Mapping[str, Sketch], pairs: Pairs, allowed: bool, what: str, remedy: str) -> np.ndarray | None:
    """(N,) bool: rows that one of the sketches knows; None where none of them knows any.

    Args:
        known: sketches by the names of the encoders or runs they are of.
        allowed: seen rows are no error.
        what: what to call the rows in a message. remedy: what to do about them.

    Raises:
        DataError: a row was seen and none is allowed; the error names the sketch that knows most.
    """
    found = {name: seen for name, sketch in known.items() if (seen := sketch.seen(pairs)).any()}
    if not allowed and found:
        shares = {name: known[name].share_seen(pairs) for name in found}
        name = max(shares, key=lambda one: shares[one])
        exact, count = known[name].limit == EVERY, max(1, round(shares[name] * len(pairs)))
        rows = f"{'' if exact else 'about '}{count:,} of {len(pairs):,} {what} ({100 * shares[name]:.1f} %)"
        raise DataError(f"{name} has seen {rows} in its training; {remedy}")
    for name in found:
        if known[name].limit < EVERY:
            say(f"warning: {name} keeps a sample of the rows it has seen; others of its rows count as unseen here")
    return np.any([*found.values()], axis=0) if found else None
