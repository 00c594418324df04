"""plait: classify things from a picture and its text together.

Public names are loaded on first use, so that ``import plait`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from plait.config import Config, configure
    from plait.data.columns import Columns
    from plait.data.pairs import Pairs
    from plait.data.read import read
    from plait.data.sample import draw
    from plait.errors import PlaitError
    from plait.inference.engine import Engine
    from plait.pipeline.classifier import Classifier
    from plait.pipeline.compare import compare
    from plait.pipeline.evaluate import evaluate
    from plait.retrieval.index import Index
    from plait.runs.open import load

_HOMES = {
    "Classifier": ("plait.pipeline.classifier", "Classifier"),
    "Columns": ("plait.data.columns", "Columns"),
    "Config": ("plait.config", "Config"),
    "Engine": ("plait.inference.engine", "Engine"),
    "Index": ("plait.retrieval.index", "Index"),
    "Pairs": ("plait.data.pairs", "Pairs"),
    "PlaitError": ("plait.errors", "PlaitError"),
    "compare": ("plait.pipeline.compare", "compare"),
    "configure": ("plait.config", "configure"),
    "draw": ("plait.data.sample", "draw"),
    "evaluate": ("plait.pipeline.evaluate", "evaluate"),
    "load": ("plait.runs.open", "load"),
    "read": ("plait.data.read", "read"),
}
__all__ = [
    "Classifier",
    "Columns",
    "Config",
    "Engine",
    "Index",
    "Pairs",
    "PlaitError",
    "compare",
    "configure",
    "draw",
    "evaluate",
    "load",
    "read",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'plait' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
