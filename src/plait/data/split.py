"""Seeded, stratified splits in which equal pairs stay on one side.

Two rows are the same pair where their texts are equal but for space at the ends, and their images are: by the
content of embedded bytes and of local files, by name for URLs and for files that are not there. Only rows that
share their text are compared, and local files only where their sizes are equal, so few images are ever read.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Hashable

import numpy as np

from plait.data.check import require_labels
from plait.data.pairs import ImageRef, Pairs, content_hash
from plait.errors import ConfigError, DataError


def stratified(pairs: Pairs, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into those kept and those held out, class by class.

    Rows that are the same pair count as one group, of its first row's class. Of each class with at least two groups,
    one or more are held out and one or more kept, as near to `fraction` of its rows as whole groups allow; a class
    with one group is kept.

    Args:
        pairs: N labelled rows.
        fraction: of the rows to hold out, above 0 and below 1.
        seed: the same seed gives the same split.

    Returns:
        Two sorted int64 arrays of row numbers: kept and held out, N in all.

    Raises:
        ConfigError: the fraction is out of range.
        DataError: no rows, or rows without a label.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the held-out fraction is {fraction}; give one above 0 and below 1")
    rng = np.random.default_rng(seed)
    held = np.zeros(len(pairs), dtype=bool)
    for groups in _groups_by_class(pairs):
        order = [groups[i] for i in rng.permutation(len(groups))]
        for group in _choose(order, fraction):
            held[group] = True
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def folds(pairs: Pairs, k: int, seed: int) -> np.ndarray:
    """Deal rows into `k` folds, with the guarantees of `stratified`.

    Returns:
        (N,) int64: the fold of each row, 0 to k - 1.

    Raises:
        ConfigError: `k` is below 2.
        DataError: no rows, rows without a label, or fewer different pairs than folds.
    """
    if k < 2:
        raise ConfigError(f"{k} folds; give at least 2")
    by_class = _groups_by_class(pairs)
    different = sum(len(groups) for groups in by_class)
    if different < k:
        raise DataError(f"{pairs.source}: different pairs: {different}, too few for {k} folds; give more rows")
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(pairs), dtype=np.int64)
    total = np.zeros(k, dtype=np.int64)
    for groups in by_class:
        mine = np.zeros(k, dtype=np.int64)
        order = [groups[i] for i in rng.permutation(len(groups))]
        for group in sorted(order, key=len, reverse=True):
            chosen = int(np.lexsort((total, mine))[0])  # fewest of this class, then fewest of all
            fold[group] = chosen
            mine[chosen] += len(group)
            total[chosen] += len(group)
    return fold


def _choose(groups: list[list[int]], fraction: float) -> list[list[int]]:
    """The groups to hold out: each that brings the count of rows nearer to the fraction; never none, never all."""
    if len(groups) < 2:
        return []
    target = fraction * sum(len(group) for group in groups)
    chosen: list[list[int]] = []
    count = 0
    for group in groups:
        if abs(count + len(group) - target) < abs(count - target):
            chosen.append(group)
            count += len(group)
    if not chosen:
        return [min(groups, key=len)]
    if len(chosen) == len(groups):
        chosen.remove(min(groups, key=len))
    return chosen


def _groups_by_class(pairs: Pairs) -> list[list[list[int]]]:
    """Rows of each group, by class in sorted order; groups in the order of their first rows."""
    labels = require_labels(pairs)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for row, key in enumerate(_keys(pairs)):
        groups[key].append(row)
    by_class: dict[str, list[list[int]]] = defaultdict(list)
    for rows in groups.values():
        by_class[labels[rows[0]]].append(rows)
    return [by_class[label] for label in sorted(by_class)]


def _keys(pairs: Pairs) -> list[Hashable]:
    """One key a row, equal where the pairs are."""
    texts = [None if text is None else text.strip() for text in pairs.texts]
    counts = Counter(texts)
    shared = [row for row, text in enumerate(texts) if counts[text] > 1]
    keys: list[Hashable] = list(range(len(texts)))
    found = [(row, *_sized(image)) for row, image in zip(shared, pairs.images(shared), strict=True)]
    sizes = Counter((texts[row], size) for row, size, _ in found)
    for row, size, name in found:
        same_size = size is not None and sizes[texts[row], size] > 1
        if same_size and isinstance(name, str):
            with open(name, "rb") as file:
                keys[row] = (texts[row], content_hash(file.read()))
        else:
            keys[row] = (texts[row], name)
    return keys


def _sized(image: ImageRef | None) -> tuple[int | None, Hashable]:
    """Size in bytes, None where it is not known, and what names the image: its content's hash or its path."""
    if image is None:
        return None, None
    if image.bytes is not None:
        return len(image.bytes), content_hash(image.bytes)
    assert image.path is not None
    try:
        return os.stat(image.path).st_size, image.path
    except OSError:
        return None, image.path
