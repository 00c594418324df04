"""Seeded, stratified draws in which rows of one group stay on one side. Who asks for them is `plait.data.partition`."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from plait.data.checks import require_rows
from plait.data.pairs import Pairs
from plait.errors import ConfigError, DataError


def stratified(pairs: Pairs, groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into those kept and those held out, class by class; no label is a class of its own.

    A group counts as of its first row's class. Of each class with at least two groups, one or more are held out and
    one or more kept, as near to `fraction` of its rows as whole groups allow; a class with one group is kept. Every
    label that there is, is that of a row kept.

    Args:
        pairs: N rows.
        groups: (N,) int64, equal for rows of one group.
        fraction: of the rows to hold out, above 0 and below 1.
        seed: the same seed gives the same split.

    Returns:
        Two sorted int64 arrays of row numbers: kept and held out, N in all.

    Raises:
        ConfigError: the fraction is out of range.
        DataError: no rows.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the held-out fraction is {fraction}; give one above 0 and below 1")
    rng = np.random.default_rng(seed)
    held = np.zeros(len(pairs), dtype=bool)
    for members in _groups_by_class(pairs, groups):
        order = [members[i] for i in rng.permutation(len(members))]
        for group in _choose(order, fraction):
            held[group] = True
    _keep_every_label(pairs, groups, held)
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def _keep_every_label(pairs: Pairs, groups: np.ndarray, held: np.ndarray) -> None:
    """Groups of several classes may take the last row of one with them; the smallest such group is then kept."""
    labels = pairs.labels
    sizes = dict(zip(*np.unique(groups, return_counts=True), strict=True))
    while missing := set(labels) - {label for label, out in zip(labels, held, strict=True) if not out}:
        rows = [row for row, label in enumerate(labels) if label in missing]
        group = groups[min(rows, key=lambda row: (sizes[groups[row]], row))]
        held[groups == group] = False


def folds(pairs: Pairs, groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Deal rows into `k` folds, class by class as `stratified` does; a group has one fold.

    Returns:
        (N,) int64: the fold of each row, 0 to k - 1.

    Raises:
        ConfigError: `k` is below 2.
        DataError: no rows, or fewer groups than folds.
    """
    if k < 2:
        raise ConfigError(f"{k} folds; give at least 2")
    by_class = _groups_by_class(pairs, groups)
    different = sum(len(members) for members in by_class)
    if different < k:
        raise DataError(f"{pairs.source}: groups of rows: {different}, too few for {k} folds; give more rows")
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(pairs), dtype=np.int64)
    total = np.zeros(k, dtype=np.int64)
    for members in by_class:
        mine = np.zeros(k, dtype=np.int64)
        order = [members[i] for i in rng.permutation(len(members))]
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


def _groups_by_class(pairs: Pairs, groups: np.ndarray) -> list[list[list[int]]]:
    """Rows of each group, by class in sorted order, no label first; groups in the order of their first rows."""
    require_rows(pairs)
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        members[group].append(row)
    by_class: dict[str, list[list[int]]] = defaultdict(list)
    for rows in members.values():
        by_class[pairs.labels[rows[0]] or ""].append(rows)
    return [by_class[label] for label in sorted(by_class)]
