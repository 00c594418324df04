"""Where a run comes from: what is noted when a classifier is fitted, and kept with it."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from plait import __version__
from plait.config import Config

LIBRARIES = ("torch", "timm", "sentence-transformers", "transformers", "scikit-learn", "numpy")


def provenance(config: Config) -> dict[str, Any]:
    """Versions, seed and time (UTC, ISO 8601) of a fit; configuration and data sketch are kept beside it."""
    return {
        "plait": __version__,
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "seed": config.seed,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
