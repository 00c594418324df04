"""Folds, and what rows count for whose class no other fold has."""

from __future__ import annotations

import pytest
import torch

from plait.training.heads.folds import MOST, counts_of, folds_of

TARGETS = torch.tensor([0, 0, 1, 1, 2, 3, 3])
FOLDS = torch.tensor([0, 1, 0, 1, 4, 1, 1])


def test_folds_hold_out_every_row_once() -> None:
    found = folds_of(FOLDS)
    assert [fold.number for fold in found] == [0, 1, 4]
    assert torch.cat([fold.test for fold in found]).sort().values.tolist() == list(range(7))
    for fold in found:
        assert torch.cat([fold.train, fold.test]).sort().values.tolist() == list(range(7))
        assert set(FOLDS[fold.test].tolist()) == {fold.number}


def test_rows_of_an_unknown_class_give_their_weight_to_those_with_least_elsewhere() -> None:
    """Classes 2 and 3 are in one fold each, three rows; 0 and 1 have one row in each of two folds, four rows."""
    assert counts_of(FOLDS, TARGETS).tolist() == pytest.approx([1.75, 1.75, 1.75, 1.75, 0, 0, 0])


def test_only_the_rarest_count_for_more() -> None:
    targets, folds = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 1, 2, 0, 1, 2])
    assert counts_of(folds, targets).tolist() == [1, 1, 1, 1.5, 1.5, 0]


def test_a_row_counts_so_many_times_at_most() -> None:
    targets, folds = torch.arange(41), torch.zeros(41, dtype=torch.int64)
    targets[40], folds[40] = 0, 1
    found = counts_of(folds, targets)
    assert found[[0, 40]].tolist() == [MOST, MOST]
    assert not found[1:40].any()


@pytest.mark.parametrize(("folds", "expected"), [([0, 1, 0, 1], [1, 1, 1, 1]), ([0, 0, 1, 1], [0, 0, 0, 0])])
def test_all_known_or_none(folds: list[int], expected: list[float]) -> None:
    assert counts_of(torch.tensor(folds), torch.tensor([0, 0, 1, 1])).tolist() == expected


def test_no_rows() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert len(counts_of(none, none)) == 0
