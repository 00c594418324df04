"""The batches that a text encoder is tuned on: which texts come together, and in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from plait.processes import count, share

BUCKET = 32  # batches that are drawn together and sorted by length

Batches = list[list[int]]


def in_order(lengths: Sequence[int], size: int) -> Batches:
    """Every row once, shortest first."""
    return cut(sorted(range(len(lengths)), key=lengths.__getitem__), size)


def at_random(lengths: Sequence[int], size: int, generator: torch.Generator) -> Batches:
    """Every row once, in batches of like length, in random order."""
    order: Batches = []
    for drawn in cut(torch.randperm(len(lengths), generator=generator).tolist(), size * BUCKET):
        order += cut(sorted(drawn, key=lengths.__getitem__), size)
    return [order[i] for i in torch.randperm(len(order), generator=generator).tolist()]


@dataclass(frozen=True)
class ByClass:
    """Every row once, in batches of groups of one class: pairs to be alike, and hard ones not to be.

    Attributes:
        classes: N class numbers.
        group: rows of a class that come together; the last group of a class may be smaller.
        hard: chance that the next group of a batch is of a class that one in the batch has been confused with.
    """

    classes: Sequence[int]
    group: int
    hard: float

    def batches(self, size: int, confused: Mapping[int, Sequence[int]], generator: torch.Generator) -> Batches:
        """Batches of at most `size` rows.

        Args:
            confused: for a class the classes it is taken for, those it is taken for more often said more often.
        """
        groups = self._groups(generator)
        left: dict[int, Batches] = defaultdict(list)
        for group in groups:
            left[self.classes[group[0]]].append(group)
        found: Batches = [[]]
        for number in [self.classes[group[0]] for group in groups]:
            while (near := self._near(found[-1], confused, left, generator)) is not None:
                self._add(found, left[near].pop(), size)
            if left[number]:
                self._add(found, left[number].pop(), size)
        return found

    def _near(
        self,
        batch: list[int],
        confused: Mapping[int, Sequence[int]],
        left: dict[int, Batches],
        generator: torch.Generator,
    ) -> int | None:
        """A class that one of the batch is taken for, by chance; None: any class may come next."""
        if not batch or torch.rand((), generator=generator).item() >= self.hard:
            return None
        near = [n for number in {self.classes[row] for row in batch} for n in confused.get(number, ()) if left[n]]
        return near[int(torch.randint(len(near), (), generator=generator))] if near else None

    def _add(self, batches: Batches, group: list[int], size: int) -> None:
        if len(batches[-1]) + len(group) > size and batches[-1]:
            batches.append([])
        batches[-1] += group

    def _groups(self, generator: torch.Generator) -> Batches:
        members: dict[int, list[int]] = defaultdict(list)
        for row in torch.randperm(len(self.classes), generator=generator).tolist():
            members[self.classes[row]].append(row)
        groups = [group for rows in members.values() for group in cut(rows, self.group)]
        return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]


def shared(batches: Batches) -> Batches:
    """This process's share of each batch; one of fewer rows than there are processes goes to the one before it."""
    whole: Batches = []
    for batch in batches:
        if whole and len(batch) < count():
            whole[-1] = whole[-1] + batch
        else:
            whole.append(batch)
    return [list(share(batch)) for batch in whole]


def cut(rows: list[int], size: int) -> Batches:
    """Rows as batches of `size`, in their order; the last may be smaller."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]
