"""Encoders that stay closed: their features are in the store already, so their weights need not be loaded again."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plait.encoders.base import Encoder, Modality, fingerprint
from plait.encoders.pixels import Preprocessing
from plait.files import digest, read_json, write_json
from plait.progress import say

REMEMBERED = "opened"  # folder of the store
FORM = 3  # raised when the same files and settings get another fingerprint
LIBRARIES = ("torch", "timm", "transformers", "sentence-transformers")


class Remembered:
    """What is known of an encoder without opening it; anything else opens it.

    Args:
        facts: its ``dim``, ``fingerprint`` and, of an image encoder, preprocessing, as `remembered` noted them.
        open_: opens it.
    """

    quick = False

    def __init__(self, modality: Modality, name: str, facts: Mapping[str, Any], open_: Callable[[], Any]):
        self.modality, self.name = modality, name
        self.dim, self.fingerprint = int(facts["dim"]), str(facts["fingerprint"])
        if facts["pixels"] is not None:
            self.preprocess = Preprocessing(facts["pixels"])
        self._open, self._opened = open_, None

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # copies and pickles ask for these before there is anything to open
            raise AttributeError(attribute)
        return getattr(self.opened(), attribute)

    @property
    def is_open(self) -> bool:
        """Whether something has opened it."""
        return self._opened is not None

    def opened(self) -> Any:
        """The encoder itself."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened


def remembered(store: Path, weights: Path | None, settings: Mapping[str, Any], open_: Callable[[], Any]) -> Any:
    """An encoder, opened only where its fingerprint is not known from an earlier time.

    Args:
        store: folder of what is remembered.
        weights: the folder or file that it is opened from, or that opening it writes; None: not known, so that it is
            opened now.
        settings: what else its fingerprint depends on: its configuration, whether it computes in bf16.
    """
    if weights is not None and weights.exists():
        facts = read_json(_note(store, weights, settings))
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return Remembered(facts["modality"], facts["name"], facts, open_)
    encoder: Encoder = open_()
    if weights is not None and weights.exists():
        facts = {key: getattr(encoder, key) for key in ("modality", "name", "dim", "fingerprint")}
        facts["pixels"] = getattr(getattr(encoder, "preprocess", None), "settings", None)
        _write(_note(store, weights, settings), facts)
    return encoder


def _note(store: Path, weights: Path, settings: Mapping[str, Any]) -> Path:
    """Named by what is in the files, wherever they are, the settings, and the libraries that read them."""
    paths = sorted(weights.rglob("*")) if weights.is_dir() else [weights]
    files = {str(path.relative_to(weights)): digest(path) for path in paths if path.is_file()}
    key = fingerprint({"form": FORM, "files": files, "settings": dict(settings), "libraries": _versions()}, {})
    return store / f"{key}.json"


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _write(note: Path, facts: Mapping[str, Any]) -> None:
    try:
        write_json(note, dict(facts))
    except OSError as error:  # it is opened again the next time
        say(f"warning: '{note.parent}' cannot be written ({error.strerror}); encoders are opened for every comparison")
