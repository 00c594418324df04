"""The kinds of encoder that a folder may hold, and where each lives."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import EncoderError

if TYPE_CHECKING:
    import torch

# Imported when a run has one: an exported run needs no PyTorch.
IMAGE = {"timm": "plait.encoders.image.TimmEncoder", "onnx": "plait.encoders.onnx.OnnxImageEncoder"}
JOINED = {"joined": "plait.encoders.joined.JoinedImageEncoder"}
TEXT = {
    "sentence": "plait.encoders.text.SentenceEncoder",
    "tfidf": "plait.encoders.tfidf.TfidfEncoder",
    "onnx": "plait.encoders.onnx.OnnxTextEncoder",
}


def load_kind(
    kinds: Mapping[str, str], folder: Path, part: Mapping[str, Any], device: torch.device | str = "cpu"
) -> Any:
    """Read an encoder's folder.

    Args:
        kinds: that it may be of. part: what its ``save`` returned.

    Raises:
        EncoderError: it is of another kind.
    """
    kind = part.get("kind", "timm")
    if kind not in kinds:
        raise EncoderError(f"{folder}: unknown kind of encoder '{kind}'; upgrade plait")
    module, _, name = kinds[kind].rpartition(".")
    return getattr(importlib.import_module(module), name).load(folder, part, device)
