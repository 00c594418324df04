"""scikit-learn's contract: a `Classifier` is cloned, searched, cross-validated and pickled as its own estimators."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

import plait
from plait import Classifier
from plait.config import Config
from plait.data.images import open_image
from plait.data.pairs import Pairs
from plait.errors import ConfigError, DataError

ToyConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def rows() -> Pairs:
    return plait.draw(rows=300, seed=2, size=32)


@pytest.fixture(scope="module")
def frame(rows: Pairs) -> pd.DataFrame:
    return pd.DataFrame({"title": rows.texts}).assign(label=rows.labels)


@pytest.fixture
def by_text(toy_config: ToyConfig) -> Config:
    return toy_config("model=text", "text.model=tfidf")


def test_parameters_are_read_set_and_cloned(by_text: Config) -> None:
    classifier = Classifier(by_text, **{"head.late": "product", "seed": 4})
    assert classifier.get_params(deep=False) == {"config": by_text, "head.late": "product", "seed": 4}
    deep = classifier.get_params()
    assert (deep["head.late"], deep["text.model"], deep["seed"]) == ("product", "tfidf", 4)
    other = clone(classifier)
    assert other is not classifier
    assert other.get_params(deep=False) == classifier.get_params(deep=False)
    assert other.set_params(**{"head.late": "mean"}) is other
    assert other.configuration().head.late == "mean"
    assert classifier.configuration().head.late == "product"  # a clone is apart
    assert repr(Classifier(model="late", **{"head.late": "mean"})) == (
        "Classifier(model='late', **{'head.late': 'mean'})"
    )


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable", "check_estimator_repr", "check_get_params_invariance", "check_set_params",
        "check_parameters_default_constructible", "check_mixin_order", "check_valid_tag_types",
        "check_estimator_tags_renamed", "check_estimators_unfitted",
    ],
)  # fmt: skip
def test_scikit_learns_own_checks(check: str) -> None:
    # Those that need no matrix of numbers. One more does not apply: names of parameters are keys, kept in one dict.
    getattr(estimator_checks, check)("Classifier", Classifier())


def test_init_only_stores_and_what_is_wrong_is_told_by_name(by_text: Config, frame: pd.DataFrame) -> None:
    wrong = Classifier(by_text, **{"head.lat": "mean"})  # as scikit-learn has it, found when used
    with pytest.raises(ConfigError, match=r"^unknown key 'head\.lat'\. Did you mean 'head\.late'\?$"):
        wrong.fit(frame)
    with pytest.raises(ConfigError, match=r"^unknown key 'heads'\. Did you mean 'head'\?$"):
        Classifier(by_text).set_params(heads=1)
    with pytest.raises(ConfigError, match=r"^y is Pairs, not labels; give rows that validate as fit\(X, val=rows\)$"):
        Classifier(by_text).fit(frame, plait.read(frame))


def test_what_scikit_learn_asks_of_a_classifier(by_text: Config, frame: pd.DataFrame) -> None:
    classifier = Classifier(by_text)
    assert is_classifier(classifier)
    with pytest.raises(NotFittedError):
        check_is_fitted(classifier)
    with pytest.raises(NotFittedError, match="this classifier is not fitted"):
        classifier.predict(frame)
    assert classifier.fit(frame) is classifier
    check_is_fitted(classifier)
    assert classifier.classes_.tolist() == sorted(set(frame["label"]))
    assert classifier.predict_proba(frame).shape == (300, len(classifier.classes_))
    right = (classifier.predict(frame) == frame["label"]).mean()
    assert classifier.score(frame) == pytest.approx(right)
    assert classifier.score(frame.drop(columns="label"), frame["label"]) == pytest.approx(right)
    first = np.zeros(300)
    first[0] = 1
    assert classifier.score(frame, sample_weight=first) == float(classifier.predict(frame)[0] == frame["label"][0])


def test_cross_validation_is_three_fits_on_the_rows_of_each_fold(by_text: Config, rows: Pairs) -> None:
    scores = cross_val_score(Classifier(by_text), rows, rows.labels, cv=3, error_score="raise")
    assert scores.shape == (3,)
    assert (scores > 0.3).all()  # of sixteen classes: chance is 0.06
    frame = pd.DataFrame({"title": rows.texts})
    np.testing.assert_array_equal(cross_val_score(Classifier(by_text), frame, rows.labels, cv=3), scores)


def test_a_grid_over_keys_of_the_configuration(toy_config: ToyConfig, frame: pd.DataFrame) -> None:
    config = toy_config("model=text", "text.model=tfidf", "train.epochs=2")
    grid = {"head.kind": ["linear", "mlp"], "train.label_smoothing": [0.0, 0.2]}
    found = GridSearchCV(Classifier(config), grid, cv=2, error_score="raise").fit(frame, frame["label"])
    assert [p["head.kind"] for p in found.cv_results_["params"]] == ["linear", "linear", "mlp", "mlp"]
    assert len(set(found.cv_results_["mean_test_score"])) > 1
    assert found.best_estimator_.engine_.config.head.kind == found.best_params_["head.kind"]


@pytest.mark.parametrize("how", ["frame", "columns", "dicts", "tuples"])
def test_rows_in_memory_of_every_kind_are_the_same_rows(how: str, rows: Pairs, toy_config: ToyConfig) -> None:
    some = rows.select(range(64))
    images = [open_image(ref.load()) if ref else None for ref in some.images()]
    texts, labels = some.texts, some.labels
    given = {
        "frame": lambda: pd.DataFrame({"image": pd.Series(images, dtype=object), "text": texts}),
        "columns": lambda: {"image": images, "text": texts},
        "dicts": lambda: [{"image": i, "text": t} for i, t in zip(images, texts, strict=True)],
        "tuples": lambda: list(zip(images, texts, strict=True)),
    }[how]()
    read = plait.read(given)
    assert read.texts == texts
    assert read.has_image.tolist() == some.has_image.tolist()
    classifier = Classifier(toy_config("model=late", "text.model=tfidf")).fit(given, labels)
    assert classifier.predict_proba(given).shape == (64, 16)
    np.testing.assert_array_equal(classifier.predict_proba(given), classifier.predict_proba(read))


def test_rows_in_memory_that_do_not_fit_together_are_named() -> None:
    with pytest.raises(DataError, match=r"^columns of different lengths: \{'text': 2, 'label': 1\}; give one value"):
        plait.read({"text": ["a", "b"], "label": ["x"]})
    with pytest.raises(
        DataError, match=r"^row 1 of the list is a tuple of 3; give \(image, text\), or all rows as dicts"
    ):
        plait.read([(None, "a"), (None, "b", "c")])
    with pytest.raises(DataError, match=r"^row 1 of the list is a str; give a dict as the first row is$"):
        plait.read([{"text": "a"}, "b"])
    with pytest.raises(DataError, match=r"^the list has no rows; give some$"):
        plait.read([])
    with pytest.raises(DataError, match=r"^1 labels \(y\) for 2 rows; give one a row$"):
        Classifier(model="text").fit({"text": ["a", "b"]}, ["x"])


def test_a_pickle_is_a_run(rows: Pairs, toy_config: ToyConfig) -> None:
    classifier = Classifier(toy_config("model=late", "text.model=tfidf"), seed=5).fit(rows)
    content = pickle.dumps(classifier)
    assert b"torch" not in content.replace(b'"torch"', b"")  # no tensors pickled: files of a run
    again = pickle.loads(content)
    np.testing.assert_array_equal(again.predict_proba(rows), classifier.predict_proba(rows))
    assert again.get_params() == classifier.get_params()
    assert again.engine_.provenance == classifier.engine_.provenance
    assert pickle.loads(pickle.dumps(Classifier(seed=3))).get_params(deep=False) == {"config": None, "seed": 3}


def test_where_a_run_comes_from_is_noted_when_it_is_fitted(rows: Pairs, by_text: Config, tmp_path: Path) -> None:
    classifier = Classifier(by_text, seed=7).fit(rows)
    taken = classifier.engine_.provenance
    assert (taken["plait"], taken["seed"]) == (plait.__version__, 7)
    assert set(taken["libraries"]) >= {"torch", "scikit-learn", "numpy"}
    classifier.save(tmp_path / "run")
    assert plait.load(tmp_path / "run").provenance == taken
