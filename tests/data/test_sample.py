"""The drawn sample set: reproducible, balanced, noisy as promised, and solved only by both modalities together."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from PIL import Image

from plait.data.pairs import Pairs
from plait.data.sample import DISHES, draw, rows, truth
from plait.data.sample.titles import title
from plait.data.sample.words import SITES, WORDS
from plait.errors import DataError

ROWS = 2000


@pytest.fixture(autouse=True, scope="module")
def _drawn_anew() -> Iterator[None]:
    """Other tests are given a picture that was drawn before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_picture", rows._picture.__wrapped__)  # type: ignore[attr-defined]
        yield


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return draw(ROWS)


def image_bytes(pairs: Pairs) -> list[bytes | None]:
    return [None if ref is None else ref.load() for ref in pairs.images()]


def same(a: Pairs, b: Pairs) -> bool:
    return (a.ids, a.texts, a.labels, image_bytes(a)) == (b.ids, b.texts, b.labels, image_bytes(b))


def test_same_seed_same_bytes_and_first_rows_do_not_depend_on_the_count(pairs: Pairs) -> None:
    again = draw(70)
    assert same(again, draw(70))
    assert same(again, pairs.select(range(70)))


def test_another_seed_draws_other_rows(pairs: Pairs) -> None:
    other, first = draw(70, seed=1), pairs.select(range(70))
    assert other.labels != first.labels
    assert not set(image_bytes(other)) & {content for content in image_bytes(first) if content}


@pytest.mark.parametrize("rows", [1, 16, 45])
def test_any_count_is_balanced_within_one(rows: int) -> None:
    counts = Counter(truth(i, seed=3).dish for i in range(rows))
    assert sum(counts.values()) == rows
    assert max(counts.values()) - min(counts.get(dish, 0) for dish in DISHES) <= 1


def test_rows_are_shuffled_and_ids_are_unique_and_name_the_dish(pairs: Pairs) -> None:
    assert pairs.labels[:16] != pairs.labels[16:32]
    assert len(set(pairs.ids)) == len(pairs) == ROWS
    assert all(name.rsplit("_", 1)[0] == label for name, label in zip(pairs.ids, pairs.labels, strict=True))
    assert set(pairs.labels) == set(DISHES) == set(WORDS)


def test_noise_rates() -> None:
    rows = [truth(i, seed=5) for i in range(20_000)]
    texts = [row for row in rows if row.has_text]
    shown = [row for row in rows if row.image_shows]
    assert np.mean([row.title_names != row.dish for row in texts]) == pytest.approx(0.25, abs=0.015)
    assert np.mean([row.title_names not in (None, row.dish) for row in texts]) == pytest.approx(0.05, abs=0.008)
    assert np.mean([row.image_shows != row.dish for row in shown]) == pytest.approx(0.05, abs=0.008)
    assert np.mean([not (row.has_text and row.image_shows) for row in rows]) == pytest.approx(0.015, abs=0.005)
    assert all(row.has_text or row.image_shows for row in rows)


def test_pairs_lack_what_the_truth_says_they_lack(pairs: Pairs) -> None:
    rows = [truth(i) for i in range(len(pairs))]
    assert pairs.has_text.tolist() == [row.has_text for row in rows]
    assert pairs.has_image.tolist() == [row.image_shows is not None for row in rows]
    assert pairs.labels == [row.dish for row in rows]
    assert 0.01 <= 1 - (pairs.has_text & pairs.has_image).mean() <= 0.02


def test_silent_titles_name_no_dish() -> None:
    rng = Random(0)
    names = {name for words in WORDS.values() for name in words.names} | {dish.replace("_", " ") for dish in DISHES}
    for _ in range(400):
        text = title(rng, rng.choice(DISHES), None).lower()
        said = {name for name in names if f" {name} " in f" {text} "}
        assert not said, text


def test_no_site_is_repeated_and_debris_occurs(pairs: Pairs) -> None:
    assert len(set(SITES)) == len(SITES)
    texts = [text for text in pairs.texts if text]
    assert any("&#82" in text for text in texts)
    assert any("xc3 xa8" in text for text in texts)


def test_no_pair_occurs_twice(pairs: Pairs) -> None:
    assert len(set(zip(pairs.texts, image_bytes(pairs), strict=True))) == len(pairs)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_images_are_small_rgb_jpegs_of_the_size_asked_for(size: int) -> None:
    contents = [content for content in image_bytes(draw(48, seed=2, size=size)) if content]
    assert len(contents) >= 40
    for content in contents:
        image = Image.open(io.BytesIO(content))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (size, size))
        assert np.asarray(image).std() > 8


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"size": 8}, {"size": 4000}])
def test_values_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        draw(**wrong)


def text_probabilities(pairs: Pairs, split: int) -> np.ndarray:
    """(test rows, classes) of TF-IDF and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = [text or "" for text in pairs.texts]
    counts = TfidfVectorizer(sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=200).fit(counts.fit_transform(texts[:split]), pairs.labels[:split])
    return np.asarray(model.predict_proba(counts.transform(texts[split:])))


def image_features(pairs: Pairs) -> np.ndarray:
    """(rows, D): edges by direction and cell, and small grey pixels; a poor man's HOG."""
    grids = []
    for content in image_bytes(pairs):
        image = Image.open(io.BytesIO(content)) if content else Image.new("RGB", (64, 64), "grey")
        grey = np.asarray(image.convert("L"), dtype=np.float32)
        dy, dx = np.gradient(grey)
        strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
        bins = np.stack([strength * (np.floor(angle / np.pi * 8) == b) for b in range(8)])
        cells = bins.reshape(8, 8, 8, 8, 8).sum(axis=(2, 4)).ravel()
        colours = np.asarray(image.convert("HSV").resize((8, 8)), dtype=np.float32).ravel() / 255
        grids.append(np.concatenate([np.sqrt(cells / (np.linalg.norm(cells) + 1e-6)) * 4, colours]))
    return np.stack(grids)


def image_probabilities(pairs: Pairs, split: int) -> np.ndarray:
    """(test rows, classes) of logistic regression on cheap features."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit_transform(image_features(pairs))
    x = PCA(120, whiten=False, random_state=0).fit_transform(x)
    model = LogisticRegression(C=0.003, max_iter=200).fit(x[:split], pairs.labels[:split])
    return np.asarray(model.predict_proba(x[split:]))


def test_neither_modality_solves_it_and_both_together_gain_five_points(pairs: Pairs) -> None:
    split = ROWS * 3 // 4
    truths = np.unique(np.array(pairs.labels), return_inverse=True)[1][split:]
    text, image = text_probabilities(pairs, split), image_probabilities(pairs, split)

    def accuracy(scores: np.ndarray) -> float:
        return float((scores.argmax(axis=1) == truths).mean())

    alone = {"text": accuracy(text), "image": accuracy(image)}
    both = accuracy(np.log(text) + np.log(image))
    assert 0.65 < alone["text"] < 0.83
    assert 0.30 < alone["image"] < 0.90
    assert both > max(alone.values()) + 0.05
