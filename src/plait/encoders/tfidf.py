"""TF-IDF of words and word pairs, reduced by a truncated SVD: a text encoder that needs no weights."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from plait.encoders.base import Strand, fingerprint
from plait.errors import DataError, EncoderError

WORD = re.compile(r"\b\w\w+\b")


class TfidfEncoder:
    """Latent semantic analysis (Deerwester et al. 1990) of a text's words and word pairs.

    Its vocabulary comes from the training texts (`fit_tfidf`), so its fingerprint names those texts too. It is fitted
    by scikit-learn, but encodes without: that would be most of the start of a server, and of the time of one text.

    Args:
        vocabulary: terms in column order.
        idf: (V,) float32 inverse document frequencies.
        components: (dim, V) right singular vectors, of which half precision is kept.
    """

    strand: Strand = "text"
    name = "tfidf"

    def __init__(self, vocabulary: list[str], idf: np.ndarray, components: np.ndarray):
        self.vocabulary = vocabulary
        self.idf = np.ascontiguousarray(idf, np.float32)
        self.dim = len(components)
        self._column = {term: i for i, term in enumerate(vocabulary)}
        # A text needs few of its rows; in half precision, for this is most of what a run weighs.
        self._terms = np.ascontiguousarray(components.T, np.float16)
        self.fingerprint = fingerprint({"tfidf": vocabulary}, self._tensors())

    def encode(self, texts: list[str]) -> np.ndarray:
        """(B,) texts -> (B, dim) float32, each of unit length unless no term of it is known."""
        vectors = np.stack([self._vector(text) for text in texts]) if texts else np.zeros((0, self.dim), np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: np.ndarray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return unit

    def _vector(self, text: str) -> np.ndarray:
        """(dim,) of a text, of any length: unit length is given to vectors in the end."""
        counts = Counter(self._column[term] for term in terms_of(text) if term in self._column)
        if not counts:
            return np.zeros(self.dim, np.float32)
        columns = list(counts)
        weights = (1 + np.log(np.fromiter(counts.values(), np.float32))) * self.idf[columns]
        vector: np.ndarray = weights @ self._terms[columns].astype(np.float32)
        return vector

    def save(self, folder: Path) -> dict[str, Any]:
        """Write vocabulary.json and model.safetensors."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocabulary.json").write_text(json.dumps(self.vocabulary), "utf-8")
        save_file(self._tensors(), folder / "model.safetensors")
        return {"kind": "tfidf"}

    @classmethod
    def load(cls, folder: Path, *_: Any) -> TfidfEncoder:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        tensors = load_file(folder / "model.safetensors")
        vocabulary = json.loads((folder / "vocabulary.json").read_text("utf-8"))
        if {tensors["components"].shape[1], len(tensors["idf"])} != {len(vocabulary)}:
            raise EncoderError(f"{folder}: vocabulary and weights do not belong together")
        return cls(vocabulary, tensors["idf"], tensors["components"])

    def _tensors(self) -> dict[str, np.ndarray]:
        return {"idf": self.idf, "components": np.ascontiguousarray(self._terms.T)}


def terms_of(text: str) -> list[str]:
    """Words of two letters or more, and pairs of them, in lower case without accents."""
    plain = text.lower()
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    words = WORD.findall(plain)
    return words + [f"{one} {following}" for one, following in pairwise(words)]


def fit_tfidf(texts: list[str], dim: int, seed: int = 0, terms: int | None = None) -> TfidfEncoder:
    """Learn vocabulary, weights and the `dim` leading components from texts.

    Args:
        terms: size of the vocabulary, the most frequent ones; None: all.

    Raises:
        DataError: fewer than two texts, or none with a word in it.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    remedy = "use another text.model, or give more rows"
    least = 2 if len(texts) >= 200 else 1
    vectorizer = TfidfVectorizer(analyzer=terms_of, sublinear_tf=True, min_df=least, max_features=terms)
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:
        few = f"the {len(texts)} training texts share no words"
        raise DataError(f"text.model=tfidf: {few}; {remedy}") from None
    # More components than a quarter of the rows would give nearly every row a direction of its own to be learnt by.
    dim = min(dim, matrix.shape[1] - 1, max(matrix.shape[0] // 4, min(matrix.shape[0] - 1, 16)))
    if dim < 1:
        few = f"{len(texts)} training texts with {matrix.shape[1]} different words and word pairs are too few"
        raise DataError(f"text.model=tfidf: {few}; {remedy}")
    svd = TruncatedSVD(dim, n_iter=2, random_state=seed).fit(matrix)
    return TfidfEncoder(list(vectorizer.get_feature_names_out()), vectorizer.idf_, svd.components_)
