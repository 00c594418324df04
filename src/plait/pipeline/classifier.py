"""`Classifier`: encoders, one head, labels and calibration, with scikit-learn's habits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.config import Config
from plait.data.pairs import GROUP, Pairs
from plait.data.read import read_as, read_beside
from plait.data.sketch import Sketch
from plait.data.unreadable import Tally
from plait.encoders.pair import EncoderPair
from plait.errors import RunError
from plait.fusion.model import Model
from plait.fusion.spec import MODELS, HeadSpec, modalities_of
from plait.inference.engine import Engine
from plait.inference.torch_head import TorchHead

if TYPE_CHECKING:
    from plait.training.loop import Curve


class Classifier:
    """Classifies pairs by image, text, or both.

    ``__init__`` only stores the configuration; everything learnt ends in an underscore.

    Args:
        config: what to train and how; ``config.model`` is image, text, late, early or auto (the best on validation).

    Attributes:
        classes_: (K,) sorted labels; column k of `predict_proba` is ``classes_[k]``.
        encoders_: the image and text encoders.
        head_: the calibrated head. spec_: how it is built.
        curve_: one dict an epoch. metrics_: rows, columns, validation loss, seconds.
        warnings_: what counted as missing. tally_: what counted it.
        seen_: the rows that it (key ``""``) and its encoders (by their folders in a run) have learnt from.
    """

    classes_: list[str]
    encoders_: EncoderPair
    head_: Model
    spec_: HeadSpec
    curve_: Curve
    metrics_: dict[str, Any]
    warnings_: list[str]
    seen_: dict[str, Sketch]
    tally_: Tally

    def __init__(self, config: Config | None = None):
        self.config = config or Config()

    def fit(self, pairs: Any, val: Any = None) -> Classifier:
        """Train on labelled pairs, or on anything `plait.read` takes.

        It trains on all the rows it is given, but for validation rows, and for a ``test`` split of the source's own
        and rows equal to one of it. No other test rows are drawn: keep some apart before, or let ``plait fit`` do so.

        Args:
            val: rows that choose epochs and calibrate; None takes the source's own ``val`` split, else holds out
                ``data.val_fraction`` of `pairs`. Training rows equal to one of them are left out.

        Raises:
            DataError: missing labels, a single class, or a modality that no row has.
        """
        from plait.pipeline.models import fit_model
        from plait.pipeline.prepare import Preparation
        from plait.training.heads.fitter import Fitter

        start = time.perf_counter()
        pairs = read_as(pairs, self.config, grouped=True)
        wanted = self._models(pairs)
        modalities = tuple(dict.fromkeys(modality for model in wanted for modality in modalities_of(model)))
        val = read_beside(pairs, val, self.config, modalities, grouped=True) if val is not None else None
        prepared = Preparation(pairs, self.config, modalities, val)
        fitter = Fitter(prepared.task(), self.config, prepared.device)
        best = min((fit_model(prepared, fitter, model) for model in wanted), key=lambda fitted: fitted.val_loss)
        self.classes_, self.encoders_, self.warnings_ = (
            prepared.labels,
            _only(best.encoders or prepared.encoders, best.spec),
            prepared.warnings,
        )
        self.tally_ = prepared.tally
        self.head_, self.spec_, self.curve_ = best.head, best.spec, best.curve
        self.seen_ = prepared.sketches(self.encoders_, _jointly(self.config) if best.spec.model == "early" else ())
        self.metrics_ = {
            "rows": len(prepared.train_pairs) + len(prepared.val_pairs),
            "classes": len(prepared.labels),
            "val_loss": round(best.val_loss, 6),
            "note": best.note,
            "encoded": prepared.encoded,
            "columns": {role: name for role, name in pairs.taken.items() if role != GROUP},
            "seconds": round(time.perf_counter() - start, 3),
        }
        return self

    @property
    def engine(self) -> Engine:
        """What answers: the encoders and the head as they are now. Raises RunError before `fit`."""
        if not hasattr(self, "head_"):
            raise RunError("this classifier is not fitted; call fit(pairs) or plait.load(folder) first")
        head = TorchHead(self.head_)
        return Engine(
            self.encoders_, head, self.classes_, self.spec_.model, self.config, metrics=self.metrics_,
            seen=self.seen_.get(""),
        )  # fmt: skip

    def predict(self, pairs: Any) -> np.ndarray:
        """The most probable label of each row: (N,) array of str."""
        return self.engine.predict(pairs)

    def predict_proba(self, pairs: Any) -> np.ndarray:
        """Calibrated probabilities, (N, K) float32, rows sum to 1."""
        engine = self.engine
        probabilities = engine.predict_proba(pairs)
        self.warnings_ = engine.warnings
        return probabilities

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write a self-contained run folder; see `plait.runs.folder.save`."""
        from plait.runs.folder import save

        save(self, Path(folder), overwrite)

    def _models(self, pairs: Pairs) -> tuple[str, ...]:
        """The models to fit; ``auto`` fits those that the data has modalities for."""
        if self.config.model != "auto":
            return (self.config.model,)
        has = {"image": bool(pairs.has_image.any()), "text": bool(pairs.has_text.any())}
        fits = tuple(model for model in MODELS if all(has[modality] for modality in modalities_of(model)))
        return fits or ("text",)


def _jointly(config: Config) -> list[str]:
    """Modalities whose network joint training changes."""
    layers = {"image": config.joint.image, "text": config.joint.text}
    return [modality for modality, which in layers.items() if which != "frozen"]


def _only(encoders: EncoderPair, spec: HeadSpec) -> EncoderPair:
    """The encoders that a head reads."""
    modalities = modalities_of(spec.model)
    return EncoderPair(encoders.image if "image" in modalities else None, encoders.text if "text" in modalities else [])
