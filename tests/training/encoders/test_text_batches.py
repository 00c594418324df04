"""The order in which labelled rows are drawn."""

from __future__ import annotations

from collections import Counter

import torch

from plait.training.encoders.text_batches import ByClass

CLASSES = [number for number in range(10) for _ in range(9)]


def draw(seed: int, group: int = 4, hard: float = 0.0, size: int = 8, confused: dict[int, list[int]] | None = None):  # type: ignore[no-untyped-def]
    return ByClass(CLASSES, group, hard).batches(size, confused or {}, torch.Generator().manual_seed(seed))


def test_every_row_comes_once_in_groups_of_its_class() -> None:
    for hard in (0.0, 0.5, 1.0):
        batches = draw(0, hard=hard, confused={0: [1, 1, 2], 1: [0], 5: [6]})
        assert sorted(row for batch in batches for row in batch) == list(range(90))
        assert max(map(len, batches)) <= 8
        counts = Counter(tuple(sorted(Counter(CLASSES[row] for row in batch).values())) for batch in batches)
        assert all(set(sizes) <= {1, 4, 5, 8} for sizes in counts)  # groups are 4, 4 and 1 rows


def test_the_seed_decides() -> None:
    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_confused_classes_meet() -> None:
    """With hard=1 a group of class 0 is followed by one of class 7 as long as there is one."""

    def meetings(hard: float) -> int:
        both = 0
        for seed in range(30):
            batches = draw(seed, hard=hard, confused={0: [7], 7: [0]})
            both += sum({0, 7} <= {CLASSES[row] for row in batch} for batch in batches)
        return both

    assert meetings(1.0) > 3 * meetings(0.0)


def test_groups_larger_than_a_batch_are_batches_of_their_own() -> None:
    assert Counter(map(len, draw(0, group=9, size=4))) == {9: 10}
