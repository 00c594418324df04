"""Graphs in 8-bit integers: static for images, dynamic for texts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

BATCH = 32


def quantise_images(path: Path, pixels: np.ndarray) -> None:
    """Quantise an image graph in place: 8-bit weights a channel, 8-bit activations.

    Ranges are the extremes seen on the given images.

    Args:
        pixels: (N, 3, H, W) uint8 of the images that ranges are taken from.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = path.with_name("prepared.onnx")
    with _quiet():
        quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready), str(path), _Reader(pixels), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    ready.unlink()


def quantise_texts(path: Path) -> None:
    """Quantise a text graph in place: 8-bit weights a channel; activations as they come, batch by batch."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = path.with_name("whole.onnx")
    path.rename(whole)
    with _quiet():
        quantize_dynamic(str(whole), str(path), per_channel=True, weight_type=QuantType.QInt8)
    whole.unlink()


class _Reader:
    """Calibration rows, batch by batch; what ONNX Runtime calls a data reader."""

    def __init__(self, pixels: np.ndarray):
        self._batches: Iterator[np.ndarray] = (pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser speaks through the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
