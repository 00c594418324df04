"""`Classifier`: encoders, one head, labels and calibration, with scikit-learn's habits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.config import Config
from plait.data.checks import require_labels
from plait.data.pairs import GROUP, Pairs
from plait.data.read import read_as, read_beside
from plait.data.unreadable import Tally
from plait.encoders.pair import EncoderPair
from plait.fusion.spec import MODELS, modalities_of
from plait.inference.engine import Engine
from plait.inference.torch_head import TorchHead
from plait.pipeline.budget import best_of, words
from plait.pipeline.estimator import Estimator, require_labels_apart
from plait.pipeline.fill import fit_fill
from plait.pipeline.models import fit_model
from plait.pipeline.prepare import Preparation
from plait.pipeline.provenance import provenance
from plait.training.heads.fitter import FittedModel, Fitter

if TYPE_CHECKING:
    from plait.training.seeds import Curve


class Classifier(Estimator):
    """Classifies pairs by image, text, or both.

    ``__init__`` only stores; everything learnt ends in an underscore. It is a classifier of scikit-learn's kind:
    `clone`, `cross_val_score` and `GridSearchCV` work, with keys of the configuration as parameters.

    >>> Classifier(model="late", **{"head.late": "product"})
    Classifier(model='late', **{'head.late': 'product'})

    Args:
        config: a `Config`, the name of a preset, or None for the defaults.
        **params: keys of the configuration, with dots, and their values; ``model`` is image, text, late, early or
            auto (the best on validation); with ``max_ms`` or ``max_mb``, the best that an answer costs no more of.

    Attributes:
        classes_: (K,) array of sorted labels; column k of `predict_proba` is ``classes_[k]``.
        engine_: what answers: encoders, calibrated head, labels, and the provenance of the fit.
        curve_: one dict an epoch. metrics_: rows, columns, validation loss, seconds.
        warnings_: what counted as missing. tally_: what counted it.
    """

    classes_: np.ndarray
    engine_: Engine
    curve_: Curve
    metrics_: dict[str, Any]
    warnings_: list[str]
    tally_: Tally

    def fit(self, X: Any, y: Any = None, *, val: Any = None, refit: bool = False) -> Classifier:
        """Train on labelled pairs.

        It trains on all the rows it is given, but for validation rows, and for a ``test`` split of the source's own
        and rows equal to one of it. No other test rows are drawn: keep some apart before, or let ``plait fit`` do so.

        Args:
            X: anything `plait.read` takes: a file or folder, a DataFrame, a dict of columns, a list of dicts, a list
                of (image, text).
            y: N labels of these rows; None: they are in X.
            val: rows that choose epochs and calibrate; None takes the source's own ``val`` split, else holds out
                ``data.val_fraction`` of X. Training rows equal to one of them are left out.
            refit: linear heads learn from `val` as well, once it has chosen, as they do from rows that were held out.

        Raises:
            ConfigError: a parameter that does not exist, or has a wrong value; no model within ``max_ms``, ``max_mb``.
            DataError: missing labels, a single class, or a modality that no row has.
        """
        start = time.perf_counter()
        config = self.configuration()
        require_labels_apart(y)
        taken = provenance(config)
        pairs = read_as(X, config, grouped=True)
        if y is not None:
            pairs = pairs.labelled(y)
        wanted = _models(pairs, config)
        modalities = tuple(dict.fromkeys(modality for model in wanted for modality in modalities_of(model)))
        val = read_beside(pairs, val, config, modalities, grouped=True) if val is not None else None
        prepared = Preparation(pairs, config, modalities, val, val_drawn=refit)
        fitter = Fitter(prepared.task(), config, prepared.device)
        best, cost = best_of(prepared, {model: fit_model(prepared, fitter, model) for model in wanted})
        self.metrics_ = {
            "rows": len(prepared.train_pairs) + len(prepared.val_pairs),
            "classes": len(prepared.labels),
            "val_loss": round(best.val_loss, 6),
            "note": best.note,
            "encoded": prepared.encoded,
            "columns": {role: name for role, name in pairs.taken.items() if role != GROUP},
            "seconds": round(time.perf_counter() - start, 3),
            **({} if cost is None else {"cost": words(cost)}),
        }
        self.engine_ = _engine(prepared, best, self.metrics_, taken)
        if config.text.fill is not None:
            targets = prepared.numbers(prepared.val_pairs).numpy()
            self.metrics_["fill"] = fit_fill(self.engine_, prepared.val_pairs, targets)
        self.classes_, self.curve_ = np.array(prepared.labels), best.curve
        self.warnings_, self.tally_ = prepared.warnings, prepared.tally
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each row: (N,) array of str. Raises NotFittedError before `fit`."""
        return self.require_fitted().predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probabilities, (N, K) float32, rows sum to 1. Raises NotFittedError before `fit`."""
        engine = self.require_fitted()
        probabilities = engine.predict_proba(X)
        self.warnings_ = engine.warnings
        return probabilities

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy on labelled rows, 0 to 1.

        Args:
            y: N labels; None: they are in X. sample_weight: (N,) weights of the rows.
        """
        require_labels_apart(y)
        engine = self.require_fitted()
        pairs = engine.read(X, labelled=y is None)
        wanted = require_labels(pairs if y is None else pairs.labelled(y))
        return float(np.average(engine.predict(pairs) == np.array(wanted), weights=sample_weight))


def _models(pairs: Pairs, config: Config) -> tuple[str, ...]:
    """The models to fit; ``auto`` fits those that the data has modalities for."""
    if config.model != "auto":
        return (config.model,)
    has = {"image": bool(pairs.has_image.any()), "text": bool(pairs.has_text.any())}
    fits = tuple(model for model in MODELS if all(has[modality] for modality in modalities_of(model)))
    return fits or ("text",)


def _engine(prepared: Preparation, best: FittedModel, metrics: dict[str, Any], taken: dict[str, Any]) -> Engine:
    """What answers by a fitted model: the encoders it reads and its head."""
    config, modalities = prepared.config, modalities_of(best.spec.model)
    found = best.encoders or prepared.make_encoders()
    encoders = EncoderPair(found.image if "image" in modalities else None, found.text if "text" in modalities else [])
    layers = {"image": config.joint.image, "text": config.joint.text} if best.spec.model == "early" else {}
    jointly = [modality for modality, which in layers.items() if which != "frozen"]
    return Engine(
        encoders, TorchHead(best.head, best.spec), prepared.labels, best.spec.model, config, metrics=metrics,
        sketches=prepared.sketches(encoders, jointly), provenance=taken,
    )  # fmt: skip
