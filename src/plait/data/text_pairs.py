"""Pairs of texts and how alike they are: what a text encoder can be tuned on without classes."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plait.data.formats.tables import open_file, table_suffix
from plait.errors import DataError

SCORES = ("score", "label")
PAIRS = (("text1", "text2", "score"), ("sentence1", "sentence2", "score"), ("sentence1", "sentence2", "label"))
TRIPLETS = (("anchor", "positive", "negative"), ("text", "positive", "negative"), ("query", "positive", "negative"))


@dataclass(frozen=True)
class TextPairs:
    """P pairs of texts.

    Attributes:
        left, right: P texts each.
        scores: (P,) float32 from 0 (nothing alike) to 1 (the same).
    """

    left: list[str]
    right: list[str]
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.left)

    def select(self, rows: np.ndarray) -> TextPairs:
        """Some pairs, by number."""
        return TextPairs([self.left[i] for i in rows], [self.right[i] for i in rows], self.scores[rows])


def read_text_pairs(source: str) -> TextPairs | None:
    """Read a table file of text pairs; None where the source is anything else.

    Columns are ``text1, text2, score`` (or ``sentence1, sentence2`` with ``score`` or ``label``), scores being any
    numbers of at least 0, which are divided by their largest; or ``anchor, positive, negative`` (``text`` or ``query``
    for the first), each row two pairs with scores 1 and 0.

    Raises:
        DataError: a row without a text, or with a score that is no such number; a table without rows.
    """
    path = Path(os.path.expanduser(source))
    if not path.is_file() or not table_suffix(path.name):
        return None
    part = open_file(path, source, "")
    names = next((names for names in (*PAIRS, *TRIPLETS) if set(names) <= set(part.names)), None)
    if names is None:
        return None
    columns: list[list[object]] = [[], [], []]
    for batch in part.batches(list(names)):
        for column, name in zip(columns, names, strict=True):
            column += batch.column(name).to_pylist()
    if not columns[0]:
        raise DataError(f"{source}: no rows; give at least two")
    texts = [_texts(column, name, source) for column, name in zip(columns, names, strict=True) if name not in SCORES]
    if len(texts) == 3:
        anchors, positives, negatives = texts
        return TextPairs(anchors * 2, positives + negatives, np.repeat(np.array([1, 0], np.float32), len(anchors)))
    scores = _scores(columns[2], names[2], source)
    return TextPairs(texts[0], texts[1], scores / (scores.max() or 1))


def hold_out(pairs: TextPairs, share: float, seed: int) -> tuple[TextPairs, TextPairs]:
    """Split off a share of the pairs, at random."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    held = max(1, round(share * len(pairs)))
    return pairs.select(np.sort(order[held:])), pairs.select(np.sort(order[:held]))


def _texts(column: list[object], name: str, source: str) -> list[str]:
    for row, value in enumerate(column, 1):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{source}, row {row}: no text in column '{name}'; fill it in or remove the row")
    return [str(value) for value in column]


def _scores(column: list[object], name: str, source: str) -> np.ndarray:
    found = np.empty(len(column), np.float32)
    for row, value in enumerate(column, 1):
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise DataError(f"{source}, row {row}: {name} '{value}' is not a number of at least 0")
        found[row - 1] = number
    return found
