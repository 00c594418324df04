"""Folds, and what they say of classes that they never saw."""

from __future__ import annotations

import torch

from plait.training.heads.folds import folds_of

TARGETS = torch.tensor([0, 0, 1, 1, 2, 3, 3])
FOLDS = torch.tensor([0, 1, 0, 1, 4, 1, 1])


def test_folds_hold_out_every_row_once() -> None:
    found = folds_of(FOLDS, TARGETS, 5)
    assert [fold.number for fold in found] == [0, 1, 4]
    assert torch.cat([fold.test for fold in found]).sort().values.tolist() == list(range(7))
    for fold in found:
        assert torch.cat([fold.train, fold.test]).sort().values.tolist() == list(range(7))
    known = [[0, 1, 2, 3], [0, 1, 2], [0, 1, 3]]
    assert [fold.known.nonzero()[:, 0].tolist() for fold in found] == known


def test_a_class_that_was_never_seen_is_answered_as_a_likely_one() -> None:
    fold = folds_of(FOLDS, TARGETS, 5)[1]  # knows 0, 1, 2
    logits = torch.tensor([[4.0, 0.0, 2.0, -99.0, -99.0], [1.0, 1.0, 1.0, 50.0, -99.0]])
    found = fold.judged(logits)
    assert torch.equal(found[:, :3], logits[:, :3])
    assert found[:, 3:].tolist() == [[3.0, 3.0], [1.0, 1.0]]  # the upper quartile of 0, 2, 4


def test_where_all_classes_are_known_nothing_changes() -> None:
    fold = folds_of(torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]), 2)[0]
    logits = torch.randn(3, 2)
    assert fold.judged(logits) is logits


def test_one_fold_of_all_rows_leaves_nothing_to_compare_with() -> None:
    fold = folds_of(torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 1]), 2)[0]
    logits = torch.randn(3, 2)
    assert fold.judged(logits) is logits
