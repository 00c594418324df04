from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.data import draws
from plait.data.pairs import Pairs
from plait.data.partition import groups_of
from plait.errors import ConfigError, DataError


def drawn(seed: int = 0, n: int = 600) -> Pairs:
    """Pairs of five classes of unlike sizes, in which about a third of the rows repeat another."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, n, n)
    labels = [f"c{min(4, int(np.log2(1 + w % 31)))}" for w in which]
    return Pairs.from_columns(
        images=[b"image %d" % (w % 97) for w in which], texts=[f"t{w}" for w in which], labels=labels
    )


def stratified(pairs: Pairs, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return draws.stratified(pairs, groups_of([pairs], "pair")[0], fraction, seed)


def folds(pairs: Pairs, k: int, seed: int) -> np.ndarray:
    return draws.folds(pairs, groups_of([pairs], "pair")[0], k, seed)


def keys(pairs: Pairs, rows: np.ndarray) -> set[tuple[bytes, str]]:
    part = pairs.select(rows)
    return {(ref.bytes or b"", text or "") for ref, text in zip(part.images(), part.texts, strict=True) if ref}


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stratified(fraction: float, seed: int) -> None:
    pairs = drawn(seed)
    kept, held = stratified(pairs, fraction, seed)
    assert kept.dtype == held.dtype == np.int64
    assert sorted([*kept, *held]) == list(range(len(pairs)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    assert not keys(pairs, kept) & keys(pairs, held)
    labels = np.array(pairs.labels)
    largest = max(np.unique(np.array(pairs.texts), return_counts=True)[1])
    for label in set(labels):
        mine = int((labels[held] == label).sum())
        assert 1 <= mine < (labels == label).sum()
        assert abs(mine - fraction * (labels == label).sum()) <= largest


def test_the_seed_decides() -> None:
    pairs = drawn()
    assert np.array_equal(stratified(pairs, 0.2, 3)[1], stratified(pairs, 0.2, 3)[1])
    assert not np.array_equal(stratified(pairs, 0.2, 3)[1], stratified(pairs, 0.2, 4)[1])
    assert np.array_equal(folds(pairs, 5, 3), folds(pairs, 5, 3))
    assert not np.array_equal(folds(pairs, 5, 3), folds(pairs, 5, 4))


def test_small_classes() -> None:
    pairs = Pairs.from_columns(texts=list("abcde"), labels=["one", "two", "two", "three", "three"])
    kept, held = stratified(pairs, 0.01, 0)
    assert sorted(pairs.labels[row] or "" for row in held) == ["three", "two"]
    assert 0 in kept
    kept, held = stratified(pairs, 0.99, 0)
    assert sorted(pairs.labels[row] or "" for row in kept) == ["one", "three", "two"]


def test_no_label_is_a_class_of_its_own() -> None:
    pairs = Pairs.from_columns(texts=[f"t{i}" for i in range(40)], labels=["x"] * 20 + [None] * 20)
    for seed in range(5):
        held = stratified(pairs, 0.2, seed)[1]
        assert [int((held < 20).sum()), int((held >= 20).sum())] == [4, 4]


def test_every_label_stays_where_groups_have_several() -> None:
    """Class y is found in groups of class x alone, one of which holds all of z."""
    labels = ["x", "y", "x", "y", "x", "z", "x", "x", "w", "w"]
    pairs = Pairs.from_columns(texts=[f"t{i}" for i in range(10)], labels=labels)
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6])
    for seed in range(20):
        kept, held = draws.stratified(pairs, groups, 0.6, seed)
        assert {labels[row] for row in kept} == {"x", "y", "z", "w"}
        assert len(held)
        assert not set(groups[kept]) & set(groups[held])


def test_equal_pairs_with_unlike_labels_go_with_the_first() -> None:
    pairs = Pairs.from_columns(texts=["same", " same ", "b", "c"], labels=["x", "y", "x", "y"])
    for seed in range(10):
        fold = folds(pairs, 2, seed)
        assert fold[0] == fold[1]


def test_images_are_compared_by_content_where_files_are_there(tmp_path: Path) -> None:
    for name, content in {"a": b"1111", "b": b"1111", "c": b"2222", "d": b"333"}.items():
        (tmp_path / name).write_bytes(content)
    names: list[object] = [tmp_path / name for name in "abcd"]
    images = [*names, b"1111", "nowhere://h/a", "nowhere://h/a", tmp_path / "gone", tmp_path / "gone", None, None]
    pairs = Pairs.from_columns(images=images, texts=["t"] * 11, labels=["x"] * 11)
    groups = [{0, 1, 4}, {2}, {3}, {5, 6}, {7, 8}, {9, 10}]
    for seed in range(5):
        fold = folds(pairs, 6, seed)
        assert sorted(sorted(np.flatnonzero(fold == f)) for f in range(6)) == sorted(sorted(g) for g in groups)


@pytest.mark.parametrize("k", [2, 5, 10])
def test_folds(k: int) -> None:
    pairs = drawn()
    fold = folds(pairs, k, 0)
    assert fold.shape == (len(pairs),)
    assert fold.dtype == np.int64
    assert set(fold) == set(range(k))
    labels = np.array(pairs.labels)
    largest = max(np.unique(np.array(pairs.texts), return_counts=True)[1])
    for f in range(k):
        assert not keys(pairs, np.flatnonzero(fold == f)) & keys(pairs, np.flatnonzero(fold != f))
    for label in set(labels):
        counts = np.bincount(fold[labels == label], minlength=k)
        assert counts.max() - counts.min() <= largest


def test_errors() -> None:
    pairs = Pairs.from_columns(texts=["a", "b"], labels=["x", None])
    for fraction in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError) as caught:
            stratified(pairs, fraction, 0)
        assert str(caught.value) == f"the held-out fraction is {fraction}; give one above 0 and below 1"
    with pytest.raises(DataError) as data:
        folds(Pairs.from_columns(texts=[], labels=[]), 2, 0)
    assert str(data.value) == "pairs: no rows; give data with at least one"
    with pytest.raises(ConfigError) as caught:
        folds(pairs, 1, 0)
    assert str(caught.value) == "1 folds; give at least 2"
    with pytest.raises(DataError) as data:
        folds(Pairs.from_columns(texts=["a", "a"], labels=["x", "x"]), 2, 0)
    assert str(data.value) == "pairs: groups of rows: 1, too few for 2 folds; give more rows"
