"""Building a configuration: presets in YAML, files, and ``key.path=value`` overrides.

Sources are merged in this order, later ones winning: defaults, a preset, a config file, ``--set`` overrides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from plait.config.encoders import Stage
from plait.config.sections import Config
from plait.errors import ConfigError, did_you_mean, option, setting

_SECTIONS = (
    "data",
    "image",
    "text",
    "head",
    "train",
    "joint",
    "space",
    "caption",
)  # one left empty in a file keeps its defaults


@dataclass(frozen=True)
class Preset:
    """What the comment lines at the top of a preset's file say.

    Attributes:
        line: what it is.
        facts: ``source``, ``published`` accuracy on UPMC Food-101, and how it ``differs`` from its source, which may
            take several lines: pairs of the word and what is said, in the order of the file.
    """

    line: str
    facts: tuple[tuple[str, str], ...] = ()


def presets() -> dict[str, Preset]:
    """The presets in the package by name."""
    found = {}
    for file in sorted(resources.files("plait.config").joinpath("presets").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            comments = takewhile(lambda line: line.startswith("#"), file.read_text("utf-8").splitlines())
            first, *more = (comment.lstrip("# ").strip() for comment in comments)
            facts = ((word, fact) for word, _, fact in (line.partition(": ") for line in more))
            found[file.name.removesuffix(".yaml")] = Preset(first, tuple(facts))
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


def with_values(config: Config | str | None, values: Mapping[str, Any]) -> Config:
    """A configuration with some of its keys changed.

    Args:
        config: the one to change, the name of a preset, or None for the defaults.
        values: by key, with dots (``head.late``) or nested; values are taken as they are.

    Raises:
        ConfigError: as `configure`.
    """
    nested: dict[str, Any] = {}
    for key, value in values.items():
        nested = _merge(nested, _nested(key, value))
    if isinstance(config, Config):
        return config if not nested else configure(values=_merge(config.model_dump(), nested))
    return configure(config, values=nested)


def _read_preset(name: str) -> dict[str, Any]:
    known = presets()
    if name not in known:
        raise ConfigError(f"unknown preset '{name}'.{did_you_mean(name, known)}")
    text = resources.files("plait.config").joinpath("presets", f"{name}.yaml").read_text("utf-8")
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
        raise ConfigError(
            f"{option('--set', 'override')} '{override}': expected key.path=value, e.g. {setting('train.epochs=10')}"
        )
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        nested = value
    if isinstance(nested, dict) and not value.lstrip().startswith("{"):
        nested = value  # a text with a colon in it, e.g. text.prompt=query:
    return _nested(key, nested)


def _nested(key: str, value: Any) -> dict[str, Any]:
    """``a.b.c`` and a value as nested mappings."""
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return dict(value)


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
        if isinstance(part, str):
            default = section.model_fields[part].default
            section = type(default) if isinstance(default, BaseModel) else Stage  # the one list of sections
    return list(section.model_fields)


def _explain(error: Any) -> str:
    path = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        section = "".join(f"{part}." for part in path[:-1])
        return f"unknown key '{section}{path[-1]}'.{did_you_mean(str(path[-1]), _known_keys(path), section)}"
    key = ".".join(str(p) for p in path if not str(p).startswith(("literal", "constrained", "function")))
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]} (got {error['input']!r})"
