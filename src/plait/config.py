"""The configuration: one typed model, presets in YAML, and ``key.path=value`` overrides.

Sources are merged in this order, later ones winning: defaults, a preset, a config file, ``--set`` overrides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from plait.errors import ConfigError, did_you_mean

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]

ModelChoice = Literal["auto", "image", "text", "late", "early"]
LateChoice = Literal["auto", "mean", "product", "weighted", "stacking"]


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors, values cannot be changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DataConfig(Section):
    """Which columns hold what (null: guess from the usual names), and how rows are split."""

    id: str | None = None
    image: str | None = None
    text: str | None = None
    label: str | None = None
    root: str | None = Field(None, description="folder that relative image paths start from; null: the table's own")
    strict: bool = Field(False, description="an unreadable image is an error instead of a missing one")
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2


class ImageTrainConfig(Section):
    """How an image encoder without pretrained weights is trained on the rows themselves."""

    epochs: PositiveInt = 16
    batch: PositiveInt = 32
    lr: PositiveFloat = 2e-3
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: Probability = 0.1


class ImageConfig(Section):
    """The image encoder: any timm model name, or ``local-dir:FOLDER``."""

    model: str = "tf_efficientnetv2_b0.in1k"
    pretrained: bool = Field(True, description="false: start from random weights and train on the rows")
    size: PositiveInt | None = Field(None, description="side in pixels; null: what the model was trained with")
    batch: PositiveInt = 128
    workers: int | None = Field(
        None, ge=0, description="processes that decode images; null: chosen from cores and rows"
    )
    train: ImageTrainConfig = ImageTrainConfig()


class TextConfig(Section):
    """The text encoder: ``minilm``, ``tfidf``, any sentence-transformers or transformers name or folder.

    Names joined by ``+`` are used side by side, e.g. ``minilm+tfidf``.
    """

    model: str = "minilm"
    prompt: str = Field("", description="put before every text; some encoders ask for one")
    max_length: PositiveInt | None = Field(None, description="tokens; null: the encoder's own limit")
    batch: PositiveInt = 128
    tfidf_dim: PositiveInt = Field(
        768, description="dimensions kept of the TF-IDF matrix, at most a quarter of the rows"
    )


class HeadConfig(Section):
    """The trained part on top of the features."""

    kind: Literal["linear", "mlp"] = Field("linear", description="head of one strand")
    hidden: PositiveInt = 512
    dropout: Probability = 0.5
    late: LateChoice = Field("auto", description="auto: the best on out-of-fold rows")
    strand_dropout: float = Field(
        0.2, ge=0, le=0.5, description="share of rows that early fusion sees without image, or text"
    )
    folds: int = Field(3, ge=2, le=20, description="folds for the out-of-fold logits that late fusion is fitted to")


class TrainConfig(Section):
    """How heads are trained."""

    epochs: PositiveInt = 15
    batch: PositiveInt | None = Field(
        None, description="rows a step; null: 32 to 512, so that an epoch has some 32 steps"
    )
    lr: PositiveFloat = 1e-3
    weight_decay: float = Field(0.01, ge=0)
    label_smoothing: Probability = 0.1
    patience: PositiveInt = Field(5, description="epochs without a better validation loss before stopping")
    class_weights: Literal["none", "balanced"] = "none"


class Config(Section):
    """Everything that decides what a fit does; the same config, data and seed give the same model."""

    model: ModelChoice = Field("auto", description="what `fit` keeps; auto: the best on validation rows")
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    store: str | None = Field(None, description="folder of the feature store; null: the user's cache")
    data: DataConfig = DataConfig()
    image: ImageConfig = ImageConfig()
    text: TextConfig = TextConfig()
    head: HeadConfig = HeadConfig()
    train: TrainConfig = TrainConfig()


_SECTIONS = ("data", "image", "text", "head", "train")  # one left empty in a file keeps its defaults


def presets() -> dict[str, str]:
    """Names of the presets in the package, each with the first comment line of its file."""
    found = {}
    for file in sorted(resources.files("plait").joinpath("presets").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            first = file.read_text("utf-8").splitlines()[0]
            found[file.name.removesuffix(".yaml")] = first.lstrip("# ").strip()
    return found


def configure(
    preset: str | None = None,
    file: str | Path | None = None,
    overrides: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Config:
    """Build a configuration.

    Args:
        preset: a name from `presets()`.
        file: a YAML or JSON file.
        overrides: ``key.path=value`` strings; the value is read as YAML.
        values: nested values, e.g. a config stored in a run.

    Raises:
        ConfigError: unknown preset or key (with the closest spelling), or a value out of range; all mistakes at once.
    """
    merged: dict[str, Any] = {}
    if preset is not None:
        merged = _merge(merged, _read_preset(preset))
    if file is not None:
        merged = _merge(merged, _read_file(Path(file)))
    merged = _merge(merged, dict(values or {}))
    for override in overrides:
        merged = _merge(merged, _parse_override(override))
    merged = {key: value for key, value in merged.items() if value is not None or key not in _SECTIONS}
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(e) for e in error.errors())) from None


def _read_preset(name: str) -> dict[str, Any]:
    known = presets()
    if name not in known:
        raise ConfigError(f"unknown preset '{name}'.{did_you_mean(name, known)}")
    text = resources.files("plait").joinpath("presets", f"{name}.yaml").read_text("utf-8")
    return _parse_yaml(text, f"preset {name}")


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"no such config file: '{path}'")
    try:
        return _parse_yaml(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None


def _parse_yaml(text: str, where: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected keys and values at the top, found a {type(content).__name__}")
    return content


def _parse_override(override: str) -> dict[str, Any]:
    import yaml

    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set '{override}': expected key.path=value, e.g. --set train.epochs=10")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        nested = value
    if isinstance(nested, dict) and not value.lstrip().startswith("{"):
        nested = value  # a text with a colon in it, e.g. text.prompt=query:
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def _merge(base: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; values of `extra` win."""
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    """The keys a section accepts; the last part of `path` is the key that was refused."""
    section: type[BaseModel] = Config
    for part in path[:-1]:
        section = type(section.model_fields[part].default)
    return list(section.model_fields)


def _explain(error: Any) -> str:
    path = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        section = "".join(f"{part}." for part in path[:-1])
        return f"unknown key '{section}{path[-1]}'.{did_you_mean(str(path[-1]), _known_keys(path), section)}"
    key = ".".join(str(p) for p in path if not str(p).startswith(("literal", "constrained", "function")))
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]} (got {error['input']!r})"
