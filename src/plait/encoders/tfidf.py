"""TF-IDF of words or of characters: text encoders that need no weights."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.encoders.base import Modality, fingerprint
from plait.errors import DataError, EncoderError
from plait.files import replacing_folder

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORD = re.compile(r"\b\w\w+\b")
FORM = 1  # raised when the same texts and settings are fitted otherwise
GRAMS = range(2, 6)  # letters of the pieces of a word
ROOM = 1 << 24  # characters and terms of texts whose columns are kept
MANY = 64  # texts that are encoded by one matrix product


class TfidfEncoder:
    """TF-IDF of a text's terms, as dense columns and as the answers of a linear classifier.

    The dense columns are latent semantic analysis (Deerwester et al. 1990). Its vocabulary comes from the training
    texts (`fit_tfidf`), so its fingerprint names those texts too. It is fitted by scikit-learn, but encodes without:
    that would be most of the start of a server, and of the time of one text.

    Args:
        kind: of terms, a key of `TERMS`.
        vocabulary: terms in column order.
        idf: (V,) float32 inverse document frequencies.
        components: (dense, V) right singular vectors, of which half precision is kept.
        scores: (V, K) weights of a linear classifier on the V columns, also kept in half precision; None: none.
    """

    modality: Modality = "text"
    quick = True

    def __init__(
        self, kind: str, vocabulary: list[str], idf: np.ndarray, components: np.ndarray,
        scores: np.ndarray | None = None,
    ):  # fmt: skip
        self.kind = self.name = kind
        self.terms_of = TERMS[kind]
        self.vocabulary = vocabulary
        self.idf = np.ascontiguousarray(idf, np.float32)
        self.dense, self.scores = len(components), 0 if scores is None else scores.shape[1]
        self.dim = self.dense + self.scores
        self._column = {term: i for i, term in enumerate(vocabulary)}
        self._found: dict[str, np.ndarray] = {}
        self._room = ROOM
        # A text needs few of its rows; in half precision, for this is most of what a run weighs.
        self._terms = np.zeros((len(vocabulary), self.dim), np.float16)
        self._terms[:, : self.dense] = components.T
        if scores is not None:
            self._terms[:, self.dense :] = scores
        self.fingerprint = fingerprint({kind: vocabulary}, self._tensors())

    @property
    def parameters(self) -> int:
        """Numbers in its matrices."""
        return self.idf.size + self._terms.size

    def encode(self, texts: list[str]) -> np.ndarray:
        """(B,) texts -> (B, dense + K) float32: columns of unit length unless no term is known, then scores."""
        if len(texts) > MANY:
            vectors = self.matrix(texts) @ self._terms.astype(np.float32)
        else:
            vectors = np.zeros((len(texts), self.dim), np.float32)
            for row, text in enumerate(texts):
                columns, weights = self._weights(text)
                vectors[row] = weights @ self._terms[columns].astype(np.float32)
        dense = vectors[:, : self.dense]
        lengths = np.linalg.norm(dense, axis=1, keepdims=True)
        np.divide(dense, lengths, out=dense, where=lengths > 0)
        found: np.ndarray = np.ascontiguousarray(vectors, np.float32)
        return found

    def matrix(self, texts: Sequence[str | None]) -> csr_matrix:
        """(B,) texts -> (B, V) float32 in sparse rows of unit length; of zeros where no term is known."""
        from scipy.sparse import csr_matrix

        columns = [self._remembered(text or "") for text in texts]
        starts = np.cumsum([0, *map(len, columns)])
        flat = np.concatenate([np.zeros(0, np.int32), *columns])
        found = csr_matrix((np.ones(len(flat), np.float32), flat, starts), shape=(len(texts), len(self.vocabulary)))
        found.sum_duplicates()
        found.data = (1 + np.log(found.data)) * self.idf[found.indices]
        rows = np.repeat(np.arange(len(texts)), np.diff(found.indptr))
        lengths = np.sqrt(np.bincount(rows, found.data.astype(np.float64) ** 2, len(texts)))
        found.data /= np.maximum(lengths, 1e-12).astype(np.float32)[rows]
        return found

    def _columns(self, text: str) -> np.ndarray:
        """The column of each known term of a text."""
        known = self._column
        return np.array([known[term] for term in self.terms_of(text) if term in known], np.int32)

    def _remembered(self, text: str) -> np.ndarray:
        """The same, kept for the next time: a comparison reads a text several times."""
        found = self._found.get(text)
        if found is None:
            found = self._columns(text)
            self._room -= len(found) + len(text)
            if self._room < 0:
                self._found.clear()
                self._room = ROOM
            self._found[text] = found
        return found

    def _weights(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Columns of a text's terms in rising order, and their weights, of unit length together."""
        columns, counts = np.unique(self._columns(text), return_counts=True)
        weights = (1 + np.log(counts.astype(np.float32))) * self.idf[columns]
        return columns, weights / max(float(np.sqrt((weights**2).sum())), 1e-12)

    def with_scores(self, scores: np.ndarray) -> TfidfEncoder:
        """The same encoder with the (V, K) weights of a linear classifier."""
        found = TfidfEncoder(self.kind, self.vocabulary, self.idf, self._terms[:, : self.dense].T, scores)
        found._found = self._found
        return found

    def save(self, folder: Path) -> dict[str, Any]:
        """Write vocabulary.json and model.safetensors."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocabulary.json").write_text(json.dumps(self.vocabulary), "utf-8")
        save_file(self._tensors(), folder / "model.safetensors")
        return {"kind": "tfidf", "terms": self.kind}

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any], *_: Any) -> TfidfEncoder:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        tensors = load_file(folder / "model.safetensors")
        vocabulary = json.loads((folder / "vocabulary.json").read_text("utf-8"))
        scores = tensors.get("scores")
        sizes = {tensors["components"].shape[1], len(tensors["idf"]), len(vocabulary)}
        if len(sizes | ({len(scores)} if scores is not None else set())) != 1:
            raise EncoderError(f"{folder}: vocabulary and weights do not belong together")
        kind = settings.get("terms", "tfidf")
        if kind not in TERMS:
            raise EncoderError(f"{folder}: unknown kind of terms '{kind}'; upgrade plait")
        return cls(kind, vocabulary, tensors["idf"], tensors["components"], scores)

    def _tensors(self) -> dict[str, np.ndarray]:
        parts: dict[str, np.ndarray] = {
            "idf": self.idf,
            "components": np.ascontiguousarray(self._terms[:, : self.dense].T),
        }
        if self.scores:
            parts["scores"] = np.ascontiguousarray(self._terms[:, self.dense :])
        return parts


def plain(text: str) -> str:
    """In lower case without accents."""
    text = text.lower()
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def terms_of(text: str) -> list[str]:
    """Words of two letters or more, and pairs of them, in lower case without accents."""
    words = WORD.findall(plain(text))
    return words + [f"{one} {following}" for one, following in pairwise(words)]


def grams_of(text: str) -> list[str]:
    """Pieces of two to five characters of each word with a space on either side, in lower case.

    As the ``char_wb`` analyser of scikit-learn: a word shorter than the pieces is one itself, once.
    """
    return list(chain.from_iterable(map(_grams, text.lower().split())))


@lru_cache(1 << 16)
def _grams(word: str) -> tuple[str, ...]:
    """The pieces of one word: few words make up most texts."""
    padded, found = f" {word} ", []
    for n in GRAMS:
        found += [padded[i : i + n] for i in range(max(len(padded) - n + 1, 1))]
        if len(padded) <= n:
            break
    return tuple(found)


TERMS: dict[str, Callable[[str], list[str]]] = {"tfidf": terms_of, "tfidf-char": grams_of}


def kept_tfidf(
    store: Path | None, texts: list[str], dim: int, seed: int = 0, terms: int | None = None, kind: str = "tfidf"
) -> TfidfEncoder:
    """`fit_tfidf`, once for the same texts and settings: kept below a folder; None: nowhere."""
    if store is None:
        return fit_tfidf(texts, dim, seed, terms, kind)
    settings = {"form": FORM, "texts": texts, "dim": dim, "seed": seed, "terms": terms, "kind": kind}
    folder = store / "tfidf" / fingerprint(settings, {})
    try:
        return TfidfEncoder.load(folder, {"terms": kind})
    except Exception:  # not there, or damaged in any way: it is fitted anew
        encoder = fit_tfidf(texts, dim, seed, terms, kind)
    with contextlib.suppress(OSError), replacing_folder(folder) as draft:  # a full disk, or another process was first
        encoder.save(draft)
    return encoder


def fit_tfidf(texts: list[str], dim: int, seed: int = 0, terms: int | None = None, kind: str = "tfidf") -> TfidfEncoder:
    """Learn vocabulary, weights and the `dim` leading components from texts.

    Args:
        terms: size of the vocabulary, the most frequent ones; None: all.
        kind: of terms, a key of `TERMS`.

    Raises:
        DataError: fewer than two texts, or none with a word in it.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    remedy = "use another text.model, or give more rows"
    least = 2 if len(texts) >= 200 else 1
    vectorizer = TfidfVectorizer(
        analyzer=TERMS[kind], sublinear_tf=True, min_df=least, max_features=terms, dtype=np.float32
    )
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:
        few = f"the {len(texts)} training texts share no words"
        raise DataError(f"text.model={kind}: {few}; {remedy}") from None
    # More components than a quarter of the rows would give nearly every row a direction of its own to be learnt by.
    dim = min(dim, matrix.shape[1] - 1, max(matrix.shape[0] // 4, min(matrix.shape[0] - 1, 16)))
    if dim < 1:
        few = f"{len(texts)} training texts with {matrix.shape[1]} different words and word pairs are too few"
        raise DataError(f"text.model={kind}: {few}; {remedy}")
    svd = TruncatedSVD(dim, n_iter=2, random_state=seed).fit(matrix)
    return TfidfEncoder(kind, list(vectorizer.get_feature_names_out()), vectorizer.idf_, svd.components_)
