"""scikit-learn's contract for a classifier: parameters that can be read, set and cloned, a score, and pickles.

Written out, not inherited from `sklearn.base.BaseEstimator`: that reads the names of parameters from a signature, and
plait's are the keys of its configuration.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from plait.config import Config, with_values
from plait.errors import ConfigError, PlaitError

if TYPE_CHECKING:
    from typing import Self

    from plait.inference.engine import Engine


class NotFittedError(PlaitError, SklearnNotFittedError):  # type: ignore[misc]
    """A classifier was asked before `fit`; also scikit-learn's error of that name."""


class Estimator:
    """Parameters of a classifier, its state, and its pickle.

    Attributes:
        config: as it was given. params: keys of the configuration, with dots (``head.late``), and their values.
        engine_: what answers, once fitted.
    """

    config: Config | str | None
    params: dict[str, Any]
    engine_: Engine

    def __init__(self, config: Config | str | None = None, **params: Any):
        self.config, self.params = config, params

    def configuration(self) -> Config:
        """The configuration with the parameters in it. Raises ConfigError for an unknown preset, key or value."""
        return with_values(self.config, self.params)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name: what was given, and with `deep` every key of the configuration as it is now."""
        given = {"config": self.config, **self.params}
        if not deep:
            return given
        return {**_flat(self.configuration().model_dump()), **given}

    def set_params(self, **params: Any) -> Self:
        """Change parameters: ``set_params(**{"head.late": "product"})``. Raises ConfigError for an unknown one."""
        config = params.pop("config", self.config)
        found = {**self.params, **params}
        with_values(config, found)
        self.config, self.params = config, found
        return self

    def __repr__(self) -> str:
        given = {**({} if self.config is None else {"config": self.config}), **self.params}
        words = [
            f"{name}={value!r}" if name.isidentifier() else f"**{{{name!r}: {value!r}}}"
            for name, value in given.items()
        ]
        return f"{type(self).__name__}({', '.join(words)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "engine_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        inputs = InputTags(two_d_array=False, string=True, allow_nan=True)
        return Tags(
            estimator_type="classifier", target_tags=TargetTags(required=False), classifier_tags=ClassifierTags(),
            input_tags=inputs,
        )  # fmt: skip

    def require_fitted(self) -> Engine:
        """What answers. Raises NotFittedError before `fit`."""
        if not hasattr(self, "engine_"):
            raise NotFittedError("this classifier is not fitted; call fit(pairs) first, or plait.load(folder)")
        return self.engine_

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write a self-contained run folder, as `plait fit` does; `plait.load` opens it.

        Raises:
            NotFittedError: before `fit`. RunError: the folder holds something already, or cannot be written.
        """
        from plait.runs.folder import save

        save(self.require_fitted(), Path(folder), overwrite)

    def __getstate__(self) -> dict[str, Any]:
        """A pickle holds the files of the run: data only, whatever becomes of it."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("engine_", "tally_")}
        if hasattr(self, "engine_"):
            with tempfile.TemporaryDirectory() as folder:
                self.save(Path(folder) / "run")
                files = sorted(path for path in Path(folder, "run").rglob("*") if path.is_file())
                state["run"] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from plait.runs.open import load

        files = state.pop("run", None)
        self.__dict__.update(state)
        if files is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.engine_ = load(Path(folder, "run"), self.configuration().device)
        self.engine_.folder = ""


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def require_labels_apart(y: Any) -> None:
    """Raise ConfigError where rows are given in place of labels."""
    from plait.data.pairs import Pairs

    if isinstance(y, Pairs | str | Path):
        raise ConfigError(f"y is {type(y).__name__}, not labels; give rows that validate as fit(X, val=rows)")
