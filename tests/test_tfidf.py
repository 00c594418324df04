from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from plait.encoders.tfidf import TfidfEncoder, fit_tfidf, terms_of
from plait.errors import DataError, EncoderError

TEXTS = [
    "Red soup with beans",
    "green soup with fresh beans",
    "crème brûlée, the best",
    "Best creme brulee of the town",
    "soup soup soup of the day",
    "Fresh beans and red peppers",
    "",
]
NEW = ["red SOUP", "Brûlée with beans of the day", "soup", ""]


def test_equals_the_pipeline_of_scikit_learn() -> None:
    encoder = fit_tfidf(TEXTS, dim=3, seed=0)
    reference = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), strip_accents="unicode"),
        TruncatedSVD(3, n_iter=2, random_state=0),
        Normalizer(),
    ).fit(TEXTS)
    assert encoder.dim == 3
    for texts in (TEXTS, NEW):
        found = encoder.encode(texts)
        assert found.dtype == np.float32
        assert found.shape == (len(texts), 3)
        np.testing.assert_allclose(found, reference.transform(texts), atol=5e-4)  # half precision


def test_case_and_accents_do_not_matter() -> None:
    one, two = fit_tfidf(TEXTS, 3).encode(["Crème BRÛLÉE", "creme brulee"])
    assert np.array_equal(one, two)


def test_vectors_have_unit_length_unless_no_word_is_known() -> None:
    vectors = fit_tfidf(TEXTS, 3).encode(["red soup", "", "xylophone quartz", "   ", "?!"])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-6)
    assert (vectors[1:] == 0).all()


def test_dimensions_are_at_most_a_quarter_of_many_rows() -> None:
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(60)]
    texts = [" ".join(rng.choice(words, 5)) for _ in range(120)]
    assert fit_tfidf(texts, 768).dim == 30
    assert fit_tfidf(texts, 8).dim == 8
    assert fit_tfidf(texts[:20], 768).dim == 16
    assert fit_tfidf(texts[:5], 768).dim == 4


def test_words_of_one_text_alone_count_only_in_small_corpora() -> None:
    few = [f"common text shelf{i % 3} number{i}" for i in range(199)]
    assert "number7" in fit_tfidf(few, 2).vocabulary
    assert "number7" not in fit_tfidf([*few, "common text shelf0 number199"], 2).vocabulary


def test_only_the_most_frequent_terms_are_kept() -> None:
    encoder = fit_tfidf(TEXTS, 3, terms=3)
    assert sorted(encoder.vocabulary) == ["beans", "soup", "the"]  # 3, 5 and 3 times
    assert (encoder.encode(["red peppers"]) == 0).all()


def test_terms_are_those_of_scikit_learn() -> None:
    texts = [
        *TEXTS,
        "a I x",
        "naïve ﬁsh № ½ don't stop",
        "ÎLE flottante_2 ünder Ünder",
        "İstanbul ΣΊΣΥΦΟΣ 日本 料理 ok",
    ]
    analyse = TfidfVectorizer(ngram_range=(1, 2), strip_accents="unicode").build_analyzer()
    for text in texts:
        assert terms_of(text) == analyse(text)


def test_encoding_takes_no_scikit_learn(tmp_path: Path) -> None:
    fit_tfidf(TEXTS, 3).save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from plait.encoders.tfidf import TfidfEncoder\n"
        "TfidfEncoder.load(Path(sys.argv[1])).encode(['red soup'])\n"
        "print([name for name in ('sklearn', 'scipy', 'torch') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert printed.stdout == "[]\n"


def test_save_and_load(tmp_path: Path) -> None:
    encoder = fit_tfidf(TEXTS, 3)
    assert encoder.save(tmp_path / "text") == {"kind": "tfidf"}
    assert sorted(p.name for p in (tmp_path / "text").iterdir()) == ["model.safetensors", "vocabulary.json"]
    again = TfidfEncoder.load(tmp_path / "text")
    assert again.vocabulary == encoder.vocabulary
    assert again.fingerprint == encoder.fingerprint
    assert (again.dim, again.name, again.strand) == (3, "tfidf", "text")
    assert np.array_equal(again.encode(NEW), encoder.encode(NEW))


def test_vocabulary_of_another_encoder_is_refused(tmp_path: Path) -> None:
    fit_tfidf(TEXTS, 3).save(tmp_path)
    (tmp_path / "vocabulary.json").write_text('["soup"]', "utf-8")
    with pytest.raises(EncoderError) as caught:
        TfidfEncoder.load(tmp_path)
    assert str(caught.value) == f"{tmp_path}: vocabulary and weights do not belong together"


def test_weights_that_do_not_fit_one_another_are_refused(tmp_path: Path) -> None:
    fit_tfidf(TEXTS, 3).save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"idf": tensors["idf"][:-1]}, tmp_path / "model.safetensors")
    with pytest.raises(EncoderError, match="vocabulary and weights do not belong together"):
        TfidfEncoder.load(tmp_path)


def test_fingerprint_names_the_training_texts() -> None:
    first = fit_tfidf(TEXTS, 3).fingerprint
    assert len(first) == 32
    assert fit_tfidf(TEXTS, 3).fingerprint == first
    assert fit_tfidf([*TEXTS, "one more soup"], 3).fingerprint != first  # the same weights would be chance
    assert fit_tfidf(TEXTS[::-1][:6], 3).fingerprint != first
    assert fit_tfidf(TEXTS, 2).fingerprint != first


@pytest.mark.parametrize("texts", [[], [""], ["", "?!", "a b"]], ids=["none", "empty", "signs"])
def test_no_words(texts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        fit_tfidf(texts, 3)
    assert str(caught.value) == (
        f"text.model=tfidf: the {len(texts)} training texts share no words; use another text.model, or give more rows"
    )


def test_one_word() -> None:
    with pytest.raises(DataError) as caught:
        fit_tfidf(["soup", "soup"], 3)
    assert str(caught.value) == (
        "text.model=tfidf: 2 training texts with 1 different words and word pairs are too few; "
        "use another text.model, or give more rows"
    )
