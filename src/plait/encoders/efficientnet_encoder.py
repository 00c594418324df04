"""An EfficientNet that answers from its files, without the library that trains it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.config import Precision
from plait.encoders.base import FromFiles, Modality, computing, fingerprint, in_bf16
from plait.encoders.efficientnet import STATISTICS, EfficientNet, Form
from plait.encoders.efficientnet_graph import graph_of
from plait.encoders.onnx import Graph
from plait.encoders.pixels import KEYS, Preprocessing, normalise


class EfficientNetEncoder(FromFiles):
    """An EfficientNet that answers from its files; anything else that is asked of it opens the whole model.

    Args:
        weights: by timm's names. config: timm's ``config.json``. form: of the network.
        settings: what `TimmEncoder.save` returned. whole: opens the whole model.

    Raises:
        KeyError, ValueError: its weights do not make such a network.
    """

    modality: Modality = "image"

    def __init__(
        self, weights: Mapping[str, Tensor], config: Mapping[str, Any], form: Form, settings: Mapping[str, Any],
        whole: Callable[[], Any],
    ):  # fmt: skip
        super().__init__(whole)
        self.name, self.architecture = settings["name"], str(config["architecture"])
        self.precision: Precision = settings.get("precision", "32")
        self.settings = {key: config["pretrained_cfg"][key] for key in KEYS}
        self.preprocess = Preprocessing(self.settings)
        self._network = EfficientNet(form, weights)
        self.dim = self._network.dim
        self.parameters = sum(one.numel() for name, one in weights.items() if not name.endswith(STATISTICS))
        self._device = torch.device("cpu")
        self._bf16 = in_bf16(self.precision, self._device)
        self.fingerprint = identity(self.settings, self.architecture, self._bf16, weights)

    @classmethod
    def read(cls, folder: Path, settings: Mapping[str, Any], whole: Callable[[], Any]) -> EfficientNetEncoder | None:
        """Open what `TimmEncoder.save` wrote; None where that is no EfficientNet of a known form, or damaged."""
        from safetensors.torch import load_file

        try:
            config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
            form = Form.of(config)
            if form is None or not set(KEYS) <= set(config["pretrained_cfg"]):
                return None
            return cls(load_file(folder / "model.safetensors"), config, form, settings, whole)
        except Exception:  # of three libraries; whoever opens the whole model says what is wrong
            return None

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return int(self.settings["input_size"][-1])

    @cached_property
    def _graph(self) -> Graph | None:
        return None if self._bf16 else graph_of(self._network, self.settings)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) uint8 -> (B, dim) float32."""
        if self._graph is not None:
            return self._graph({"pixels": pixels})
        inputs = normalise(torch.from_numpy(pixels), self.settings)
        with torch.inference_mode(), computing(self._bf16, self._device):
            features: np.ndarray = self._network(inputs).float().numpy()
        return features


def identity(settings: Mapping[str, Any], architecture: str, bf16: bool, weights: Mapping[str, Tensor]) -> str:
    """32 hex digits of a timm network, the same of an open one and of its files."""
    known = {"settings": dict(settings), "name": architecture, **({"precision": "bf16"} if bf16 else {})}
    return fingerprint(known, weights)
