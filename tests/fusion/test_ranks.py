"""Ranks, recall and medians, on similarities made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from plait.fusion.ranks import both_ways, ranks, summary


def test_ranks_by_hand() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    targets = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    keys = np.array([0, 1, 2])
    # Similarities: 1, .9, 0; 0, .1, 1; .6, .62, .8.
    assert ranks(queries, targets, keys, keys).tolist() == [1, 2, 1]
    assert ranks(queries, targets, np.array([1, 0, 0]), keys).tolist() == [2, 3, 3]


def test_the_best_of_several_right_answers_counts() -> None:
    targets = np.array([[0.1], [0.9], [0.5]])
    assert ranks(np.array([[1.0]]), targets, np.array([7]), np.array([7, 3, 7])).tolist() == [2]


def test_ties_count_against_the_answer() -> None:
    """A space in which everything is equally near finds nothing."""
    same = np.ones((5, 3))
    assert ranks(same, same, np.arange(5), np.arange(5)).tolist() == [5] * 5


def test_a_query_without_a_right_answer() -> None:
    with pytest.raises(ValueError, match=r"^query 1 has no right answer$"):
        ranks(np.ones((2, 1)), np.ones((2, 1)), np.array([0, 5]), np.array([0, 1]))


def test_summary() -> None:
    found = summary(np.array([1, 2, 5, 6, 11]))
    assert found == {"recall@1": 0.2, "recall@5": 0.6, "recall@10": 0.8, "median_rank": 5.0}


def test_bags_are_easier_than_all_rows() -> None:
    draw = np.random.default_rng(0)
    image = draw.normal(size=(1500, 8))
    text = image + draw.normal(size=(1500, 8))
    found = both_ways(image, text, np.arange(1500), seed=4)
    assert set(found) == {"image_to_text", "text_to_image", "image_to_text_1k", "text_to_image_1k"}
    assert found["image_to_text_1k"]["median_rank"] < found["image_to_text"]["median_rank"]
    assert found == both_ways(image, text, np.arange(1500), seed=4)
    assert set(both_ways(image[:1000], text[:1000], np.arange(1000))) == {"image_to_text", "text_to_image"}
