from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from plait.encoders.tfidf import MANY, TERMS, TfidfEncoder, fit_tfidf, grams_of, terms_of
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


ODD = [
    *TEXTS,
    "a I x",
    "naïve ﬁsh № ½ don't stop",
    "ÎLE flottante_2 ünder Ünder",
    "İstanbul ΣΊΣΥΦΟΣ 日本 料理 ok",
    " \ttwo  lines\n and\u00a0a half, (of) them--- ",
]
KINDS = {
    "tfidf": {"ngram_range": (1, 2), "strip_accents": "unicode"},
    "tfidf-char": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def test_every_kind_is_tested() -> None:
    assert set(KINDS) == set(TERMS)


@kinds
def test_the_matrix_is_that_of_scikit_learn(kind: str) -> None:
    encoder = fit_tfidf(ODD, dim=3, kind=kind)
    reference = TfidfVectorizer(sublinear_tf=True, **KINDS[kind]).fit(ODD)
    assert encoder.vocabulary == list(reference.get_feature_names_out())
    for texts in (ODD, NEW):
        found = encoder.matrix(texts)
        assert found.dtype == np.float32
        assert found.has_sorted_indices
        np.testing.assert_allclose(found.toarray(), reference.transform(texts).toarray(), atol=1e-6)


@kinds
def test_missing_texts_are_rows_of_zeros(kind: str) -> None:
    encoder = fit_tfidf(TEXTS, dim=3, kind=kind)
    found = encoder.matrix(["red soup", None, "", "ξυζ"])
    assert found.shape == (4, len(encoder.vocabulary))
    assert np.diff(found.indptr)[1:].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(found[[0]].toarray(), encoder.matrix(["red soup"]).toarray())
    assert encoder.matrix([]).shape == (0, len(encoder.vocabulary))


@kinds
def test_equals_the_pipeline_of_scikit_learn(kind: str) -> None:
    encoder = fit_tfidf(TEXTS, dim=3, seed=0, kind=kind)
    reference = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, **KINDS[kind]), TruncatedSVD(3, n_iter=2, random_state=0), Normalizer()
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


@pytest.mark.parametrize(("kind", "terms"), [("tfidf", terms_of), ("tfidf-char", grams_of)])
def test_terms_are_those_of_scikit_learn(kind: str, terms: Callable[[str], list[str]]) -> None:
    analyse = TfidfVectorizer(**KINDS[kind]).build_analyzer()
    for text in ODD:
        assert terms(text) == analyse(text)


def test_letters_join_what_is_misspelt() -> None:
    cosine = {}
    for kind in KINDS:
        one, two = fit_tfidf(TEXTS, 3, kind=kind).matrix(["fresh peppers", "frsh pepper"])
        cosine[kind] = (one @ two.T).sum()
    assert cosine["tfidf"] == 0
    assert cosine["tfidf-char"] > 0.5


# Scores of a linear classifier


def scored(kind: str, scale: float = 1.0) -> tuple[TfidfEncoder, np.ndarray]:
    plain = fit_tfidf(TEXTS, 3, kind=kind)
    weights = scale * np.random.default_rng(0).normal(size=(len(plain.vocabulary), 4)).astype(np.float32)
    return plain.with_scores(weights), weights


@kinds
def test_score_columns_are_the_matrix_times_the_weights(kind: str) -> None:
    encoder, weights = scored(kind, 20.0)
    assert (encoder.dense, encoder.scores, encoder.dim) == (3, 4, 7)
    found = encoder.encode(NEW)
    assert found.shape == (len(NEW), 7)
    np.testing.assert_allclose(found[:, 3:], encoder.matrix(NEW) @ weights, rtol=2e-3, atol=2e-2)  # half precision
    np.testing.assert_allclose(found[:, :3], fit_tfidf(TEXTS, 3, kind=kind).encode(NEW), atol=1e-6)


@kinds
def test_one_text_is_encoded_as_many_are(kind: str) -> None:
    encoder, _ = scored(kind)
    texts = (ODD * MANY)[: 2 * MANY]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in ODD])
    np.testing.assert_allclose(together[: len(ODD)], alone, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(texts[:MANY]), together[:MANY], atol=1e-5)


def test_scores_are_part_of_the_fingerprint_and_replace_one_another() -> None:
    (encoder, weights), plain = scored("tfidf"), fit_tfidf(TEXTS, 3)
    assert encoder.fingerprint != plain.fingerprint
    assert encoder.with_scores(weights).fingerprint == encoder.fingerprint
    assert encoder.with_scores(weights + 1).fingerprint != encoder.fingerprint
    assert encoder.with_scores(weights[:, :2]).dim == 5
    assert plain.dim == 3


@kinds
def test_scores_are_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    encoder, _ = scored(kind)
    again = TfidfEncoder.load(tmp_path, encoder.save(tmp_path))
    assert (again.kind, again.fingerprint, again.dense, again.scores) == (kind, encoder.fingerprint, 3, 4)
    assert np.array_equal(again.encode(NEW), encoder.encode(NEW))


def test_scores_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    settings = scored("tfidf")[0].save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"scores": tensors["scores"][:-1]}, tmp_path / "model.safetensors")
    with pytest.raises(EncoderError, match="vocabulary and weights do not belong together"):
        TfidfEncoder.load(tmp_path, settings)


# Saving


def test_encoding_takes_no_scikit_learn(tmp_path: Path) -> None:
    fit_tfidf(TEXTS, 3).save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from plait.encoders.tfidf import TfidfEncoder\n"
        "TfidfEncoder.load(Path(sys.argv[1]), {}).encode(['red soup'])\n"
        "print([name for name in ('sklearn', 'scipy', 'torch') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert printed.stdout == "[]\n"


@kinds
def test_save_and_load(kind: str, tmp_path: Path) -> None:
    encoder = fit_tfidf(TEXTS, 3, kind=kind)
    settings = encoder.save(tmp_path / "text")
    assert settings == {"kind": "tfidf", "terms": kind}
    assert sorted(p.name for p in (tmp_path / "text").iterdir()) == ["model.safetensors", "vocabulary.json"]
    again = TfidfEncoder.load(tmp_path / "text", settings)
    assert again.vocabulary == encoder.vocabulary
    assert again.fingerprint == encoder.fingerprint
    assert (again.dim, again.name, again.modality) == (3, kind, "text")
    assert np.array_equal(again.encode(NEW), encoder.encode(NEW))


def test_a_folder_from_before_there_were_letters_is_of_words(tmp_path: Path) -> None:
    encoder = fit_tfidf(TEXTS, 3)
    encoder.save(tmp_path)
    again = TfidfEncoder.load(tmp_path, {"kind": "tfidf", "folder": "text-0"})
    assert (again.kind, again.fingerprint) == ("tfidf", encoder.fingerprint)


def test_terms_of_a_later_version_are_refused(tmp_path: Path) -> None:
    fit_tfidf(TEXTS, 3).save(tmp_path)
    with pytest.raises(EncoderError) as caught:
        TfidfEncoder.load(tmp_path, {"kind": "tfidf", "terms": "syllables"})
    assert str(caught.value) == f"{tmp_path}: unknown kind of terms 'syllables'; upgrade plait"


def test_vocabulary_of_another_encoder_is_refused(tmp_path: Path) -> None:
    fit_tfidf(TEXTS, 3).save(tmp_path)
    (tmp_path / "vocabulary.json").write_text('["soup"]', "utf-8")
    with pytest.raises(EncoderError) as caught:
        TfidfEncoder.load(tmp_path, {})
    assert str(caught.value) == f"{tmp_path}: vocabulary and weights do not belong together"


def test_weights_that_do_not_fit_one_another_are_refused(tmp_path: Path) -> None:
    fit_tfidf(TEXTS, 3).save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"idf": tensors["idf"][:-1]}, tmp_path / "model.safetensors")
    with pytest.raises(EncoderError, match="vocabulary and weights do not belong together"):
        TfidfEncoder.load(tmp_path, {})


def test_fingerprint_names_the_training_texts() -> None:
    first = fit_tfidf(TEXTS, 3).fingerprint
    assert len(first) == 32
    assert fit_tfidf(TEXTS, 3).fingerprint == first
    assert fit_tfidf([*TEXTS, "one more soup"], 3).fingerprint != first  # the same weights would be chance
    assert fit_tfidf(TEXTS[::-1][:6], 3).fingerprint != first
    assert fit_tfidf(TEXTS, 2).fingerprint != first
    assert fit_tfidf(TEXTS, 3, kind="tfidf-char").fingerprint != first


@pytest.mark.parametrize(
    ("texts", "kind"),
    [([], "tfidf"), ([""], "tfidf"), (["", "?!", "a b"], "tfidf"), ([], "tfidf-char"), ([" ", "\n"], "tfidf-char")],
    ids=["none", "empty", "signs", "no-letters", "blanks"],
)
def test_no_words(texts: list[str], kind: str) -> None:
    with pytest.raises(DataError) as caught:
        fit_tfidf(texts, 3, kind=kind)
    assert str(caught.value) == (
        f"text.model={kind}: the {len(texts)} training texts share no words; use another text.model, or give more rows"
    )


def test_one_word() -> None:
    with pytest.raises(DataError) as caught:
        fit_tfidf(["soup", "soup"], 3)
    assert str(caught.value) == (
        "text.model=tfidf: 2 training texts with 1 different words and word pairs are too few; "
        "use another text.model, or give more rows"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_of_texts_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = fit_tfidf(TEXTS * 20, 4, kind=kind)
    first = encoder.matrix(TEXTS)
    assert set(encoder._found) == set(TEXTS)
    monkeypatch.setattr(encoder, "_room", 40)
    many = [f"{text} number {i}" for i in range(50) for text in TEXTS]
    encoder.matrix(many)
    assert len(encoder._found) <= len(many)  # what came before is forgotten
    assert TEXTS[0] not in encoder._found
    assert (encoder.matrix(TEXTS) != first).nnz == 0
