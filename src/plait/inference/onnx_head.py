"""A head as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from plait.encoders.onnx import Graph
from plait.features.encode import Features

ROWS = 8192  # a pass


class OnnxHead:
    """An engine's `Head`, run by ONNX Runtime.

    The graph takes ``S`` (N, D) float32 and ``S_present`` (N,) bool of each modality S, and gives (N, K) logits.
    """

    def __init__(self, path: Path):
        self.graph = Graph(path)
        self.classes = int(self.graph.output.shape[1])

    def __call__(self, features: Mapping[str, Features]) -> np.ndarray:
        inputs: dict[str, np.ndarray] = {}
        for modality, one in features.items():
            inputs |= {modality: one.vectors, f"{modality}_present": one.present}
        rows = len(next(iter(inputs.values())))
        parts = (slice(i, i + ROWS) for i in range(0, max(rows, 1), ROWS))
        return np.concatenate([self.graph({name: value[part] for name, value in inputs.items()}) for part in parts])
