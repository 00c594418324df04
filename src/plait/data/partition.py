"""Which rows train, which validate and which test: decided here alone, the same for every verb.

Each part is what was given for it, else the source's own split of that name, else a seeded draw. Rows of one group
(``data.group``) never stand on two sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.config import Config
from plait.data.checks import require_labels, require_rows
from plait.data.columns import MODALITIES, SHARED, group_column
from plait.data.draws import stratified
from plait.data.pairs import GROUP, Pairs
from plait.data.read import read_as, read_beside
from plait.data.sketch import same_rows
from plait.errors import DataError, did_you_mean, option
from plait.progress import say

Learnt = Callable[[Pairs], np.ndarray]
LEAST_SHARE = 0.05  # of the rows that validation rows are drawn from; fewer that are new to the encoders do not do
LEAST_A_CLASS = 2


@dataclass(frozen=True)
class Partition:
    """Rows by what they are for.

    Attributes:
        train: rows that weights are fitted to. val: rows that choose epochs and calibrate.
        test: rows kept apart; None where there are none.
        notes: one line each on what was left out and why.
        val_drawn: the validation rows were drawn from those to train on, neither given nor a split of the source's own.
    """

    train: Pairs
    val: Pairs
    test: Pairs | None
    notes: list[str]
    val_drawn: bool = False


def divide(
    data: Any, config: Config, *, val: Any = None, test: Any = None, modalities: Sequence[str] = MODALITIES,
    hold_test: bool = True, learnt: Learnt | None = None, labelled: bool = True,
) -> Partition:  # fmt: skip
    """Divide a source into rows to train on, to validate on and to test on.

    Test rows are those given, else the source's own ``test`` split, else ``data.test_fraction`` of the rows. Validation
    rows are those given, else its own ``val`` split, else ``data.val_fraction`` of what is left. All others train, but
    for rows of a group with a test row or a validation row, which are left out, as is a split of the source's own that
    was given from elsewhere. Draws are stratified and depend on the rows, ``data.group`` and ``seed`` alone.

    Args:
        data: anything `read` takes; so are `val` and `test`, which are read with the columns of `data`.
        modalities: which of image and text will be used: those that `data` has must have a column in `val` and `test`.
        hold_test: draw test rows where there are none.
        learnt: says of N rows which an encoder has learnt from, (N,) bool; validation rows are then drawn from the
            others, if there are enough: `LEAST_A_CLASS` a class on average, and `LEAST_SHARE` of the rows.
        labelled: every row that is not of the source's own test split must have a label.

    Raises:
        DataError: no rows, rows without a label, or none left to train, validate or test on; no such group; or a column
            that `data` has and `val` or `test` has not.
    """
    tables = {"data": read_as(data, config, grouped=True)}
    for name, one in (("val", val), ("test", test)):
        if one is not None:
            tables[name] = read_beside(tables["data"], one, config, modalities, grouped=True)
    for pairs in tables.values():
        require_rows(pairs)
    found = dict(zip(tables, groups_of([*tables.values()], config.data.group), strict=True))
    sides = {name: _Side(tables[name], found[name]) for name in tables}
    notes: list[str] = []
    own, train = _own_splits(sides.pop("data"))
    if labelled:
        require_labels(train.pairs)
    held = {name: sides.get(name) or own.get(name) for name in ("val", "test")}
    for name in sorted(sides.keys() & own.keys()):
        given = option(f"--{name}", name)
        _note(notes, f"{train.pairs.source}: its {name} split ({len(own[name]):,} rows) is left out: {given} is given")
    if held["test"] is None and hold_test and config.data.test_fraction:
        train, held["test"] = train.draw(config.data.test_fraction, config.seed, "test")
    held["val"] = _apart(held["val"], {"test": held["test"]}, "validation", config.data.group, notes)
    kept = _apart(train, {"test": held["test"], "validation": held["val"]}, "training", config.data.group, notes)
    assert kept is not None
    if drawn := held["val"] is None:
        kept, held["val"] = _draw_val(kept, config, learnt, notes)
    assert held["val"] is not None
    return Partition(kept.pairs, held["val"].pairs, held["test"].pairs if held["test"] else None, notes, drawn)


@dataclass(frozen=True)
class _Side:
    """Rows and their groups, (N,) int64."""

    pairs: Pairs
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, rows: np.ndarray) -> _Side:
        return _Side(self.pairs.select(rows), self.groups[rows])

    def draw(self, fraction: float, seed: int, what: str) -> tuple[_Side, _Side]:
        """Rows kept and rows held out."""
        kept, held = stratified(self.pairs, self.groups, fraction, seed)
        if not len(held):
            remedy = f"give {option(f'--{what}', what)}" + (" or set data.test_fraction=0" if what == "test" else "")
            raise DataError(f"{self.pairs.source}: no class has two different rows, so none can be held out; {remedy}")
        return self.take(kept), self.take(held)


def _own_splits(side: _Side) -> tuple[dict[str, _Side], _Side]:
    """The source's own val and test splits, and all other rows."""
    splits = {name: rows for name, rows in side.pairs.splits.items() if name in ("val", "test") and len(rows)}
    if not splits:
        return {}, side
    others = np.setdiff1d(np.arange(len(side)), np.concatenate([*splits.values()]))
    if not len(others):
        raise DataError(f"{side.pairs.source}: every row is of its {' or '.join(splits)} split; give rows to train on")
    return {name: side.take(rows) for name, rows in splits.items()}, side.take(others)


def _apart(
    side: _Side | None, others: dict[str, _Side | None], what: str, group: str, notes: list[str]
) -> _Side | None:
    """The rows of a side that share no group with one of the others'; says how many do."""
    for name, other in others.items():
        if side is None or other is None:
            continue
        start = len(side)
        # Leaving rows out may leave none that has both modalities, and rows are then told by the one there is.
        while (shared := np.isin(side.groups, other.groups) | same_rows(side.pairs, other.pairs)).any():
            if shared.all():
                raise DataError(f"{side.pairs.source}: every {what} row is also a {name} row; give other rows")
            side = side.take(np.flatnonzero(~shared))
        if count := start - len(side):
            _note(notes, f"{side.pairs.source}: {_left_out(count, what, name, group)}")
    return side


def _left_out(count: int, what: str, name: str, group: str) -> str:
    one = count == 1
    rows = f"{count:,} {what} row{'' if one else 's'}"
    if group == "pair":
        how = f"is also a {name} row" if one else f"are also {name} rows"
    else:
        how = f"{'is' if one else 'are'} of one group ({group}) with {name} rows"
    return f"{rows} {how} and {'is' if one else 'are'} left out of {what}"


def _draw_val(side: _Side, config: Config, learnt: Learnt | None, notes: list[str]) -> tuple[_Side, _Side]:
    """Validation rows that no encoder has learnt from, where there are enough; else any."""
    fraction, seed = config.data.val_fraction, config.seed
    kept, held = side.draw(fraction, seed, "val")
    if learnt is None or not learnt(held.pairs).any():
        return kept, held
    new = np.flatnonzero(~np.isin(side.groups, side.groups[learnt(side.pairs)]))
    if len(new) < max(LEAST_A_CLASS * len(set(side.pairs.labels)), LEAST_SHARE * len(side)):
        return kept, held
    part = side.take(new)
    _, drawn = stratified(part.pairs, part.groups, min(0.9, fraction * len(side) / len(new)), seed)
    if not len(drawn):
        return kept, held
    _note(
        notes, f"{side.pairs.source}: validation rows are drawn from the {len(new):,} that no encoder has learnt from"
    )
    rest = np.setdiff1d(np.arange(len(side)), new[drawn])
    return side.take(rest), part.take(drawn)


def _note(notes: list[str], line: str) -> None:
    notes.append(line)
    say(line)


def groups_of(tables: Sequence[Pairs], group: str) -> list[np.ndarray]:
    """What group each row of some tables is of, as ``data.group`` says: (N,) int64 for each table.

    Rows are of one group where they are the same pair, share their text, image or the value of a column, or are joined
    by a chain of rows that do; a row that has no such thing is a group of its own.

    Raises:
        DataError: a table has no such column.
    """
    column = group_column(group)
    parts = {"pair", *([column] if column else group.split("+"))}
    found = _connected([_numbered(tables, part) for part in sorted(parts)])
    ends = np.cumsum([len(pairs) for pairs in tables])
    return np.split(found, ends[:-1])


def _numbered(tables: Sequence[Pairs], part: str) -> np.ndarray:
    """The same number for rows of all tables that share something, a number of its own for a row without it."""
    numbers: dict[Any, int] = {}
    keys = (object() if key is None else key for pairs in tables for key in _keys(pairs, part))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _keys(pairs: Pairs, part: str) -> Sequence[Any]:
    if part == "pair":
        return pairs.row_keys
    if part in SHARED:
        return pairs.text_keys if part == "text" else pairs.image_keys
    if GROUP not in pairs.table.column_names:
        hint = did_you_mean(part, SHARED)
        raise DataError(f"{pairs.source}: no column '{part}' for data.group.{hint}")
    return [value.strip() or None if value else None for value in pairs.column(GROUP)]


def _connected(links: list[np.ndarray]) -> np.ndarray:
    """The component of each of N rows, where rows that have an equal number in any of the links are connected."""
    if len(links) == 1:
        return links[0]
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.arange(len(links[0]))
    starts = np.cumsum([len(rows), *(int(link.max(initial=0)) + 1 for link in links)])
    edges = np.concatenate([link + start for link, start in zip(links, starts, strict=False)])
    shape = (int(starts[-1]), int(starts[-1]))
    graph = coo_array((np.ones(len(edges), bool), (np.tile(rows, len(links)), edges)), shape=shape)
    return np.asarray(connected_components(graph, directed=False)[1][: len(rows)], dtype=np.int64)
