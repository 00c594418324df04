"""A joint space and runs of toy encoders, made once for the tests that index rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.data.partition import divide
from plait.pipeline.classifier import Classifier
from plait.pipeline.space import tune_space

FOLDERS: dict[str, Path] = {}
QUICK = ("space.epochs=3", "space.dim=16", "space.hidden=16", "space.batch=32")


@cache
def rows() -> Pairs:
    """160 rows of the sample set; pictures are embedded."""
    return plait.draw(rows=160, seed=1, size=32)


def joint(toy_config: Callable[..., Config], folder: Callable[..., Path]) -> Path:
    """A joint space of the toy encoders."""
    if "joint" not in FOLDERS:
        FOLDERS["joint"] = folder("spaces") / "space"
        config = toy_config(f"store={folder('store')}", *QUICK)
        tune_space(divide(rows(), config, labelled=False), config, FOLDERS["joint"])
    return FOLDERS["joint"]


def run(
    toy_config: Callable[..., Config], folder: Callable[..., Path], model: str = "late", early: str = "mlp"
) -> Path:
    """A run of the toy encoders."""
    name = f"{model}-{early}"
    if name not in FOLDERS:
        FOLDERS[name] = folder(f"run-{name}") / "run"
        widths = ("head.huse.image=[16,8]", "head.huse.text=[8]")
        config = toy_config(
            f"store={folder('store')}", f"model={model}", f"head.early={early}", *widths, "train.epochs=2"
        )
        Classifier(config).fit(rows()).save(FOLDERS[name])
    return FOLDERS[name]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
