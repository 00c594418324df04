"""How far the texts alone can lead: three unlike classifiers of them, their mean, and what any of them gets right.

    python -m benchmarks.ceiling TRAIN TEST text.model=tuned

A row that none of them gets right says too little about its class, and no better encoder will read it out of there.
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.probing import Tables, open_network, probabilities, read_tables
from plait.config import configure

NEIGHBOURS, TEMPERATURE = 10, 0.05


def main() -> None:
    """Print a row for each classifier."""
    train, test, *overrides = sys.argv[1:]
    config = configure(overrides=overrides)
    tables = read_tables(train, test, config)
    encoder = open_network(config)
    features, unseen = (encoder.encode(part.filled) for part in (tables.train, tables.test))
    found = {
        "linear head on the encoder": probabilities(features, unseen, tables, config.seed),
        "its nearest neighbours": _neighbours(features, unseen, tables),
        "TF-IDF, logistic regression": _tfidf(tables),
    }
    found["mean of the three"] = sum(found.values()) / len(found)
    targets = tables.test.targets.numpy()
    right = {name: answers.argmax(1) == targets for name, answers in found.items()}
    right["right in at least one of them"] = np.any(list(right.values()), axis=0)
    for name, rows in right.items():
        print(f"{name:<32} {rows.mean():7.2%}")


def _neighbours(features: np.ndarray, unseen: np.ndarray, tables: Tables) -> np.ndarray:
    def weights(distances: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp((distances.min(1, keepdims=True) - distances) / TEMPERATURE))

    model = KNeighborsClassifier(NEIGHBOURS, metric="cosine", weights=weights)
    model.fit(features, tables.train.targets.numpy())
    return _of_all(model, unseen, tables.classes)


def _tfidf(tables: Tables) -> np.ndarray:
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    model = LogisticRegression(C=10, max_iter=200)
    model.fit(words.fit_transform(tables.train.filled), tables.train.targets.numpy())
    return _of_all(model, words.transform(tables.test.filled), tables.classes)


def _of_all(model: KNeighborsClassifier | LogisticRegression, rows: np.ndarray, classes: int) -> np.ndarray:
    """(N, K) probabilities, 0 for classes that the model has not seen."""
    answers = np.zeros((rows.shape[0], classes))
    answers[:, model.classes_] = model.predict_proba(rows)
    return answers


if __name__ == "__main__":
    main()
