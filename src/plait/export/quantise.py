"""Graphs in 8-bit integers: static for images, dynamic for texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plait.data.pairs import Pairs
from plait.encoders.base import ImageEncoder
from plait.encoders.joined import by_folder
from plait.encoders.onnx import MODEL
from plait.encoders.pair import EncoderPair
from plait.encoders.text import SentenceEncoder
from plait.errors import RunError, option
from plait.features.encode import decode
from plait.progress import hushed

CALIBRATION = 256  # images that ranges are taken from
BATCH = 32
PRODUCTS = ["Conv", "MatMul", "Gemm"]
EARLY = 6  # one in so many convolutions is among the first ones, whose few channels 8 bits hold worst


def quantise(encoders: EncoderPair, pairs: Pairs, folder: Path, careful: bool = False) -> None:
    """Quantise the graphs of an export in place.

    Args:
        pairs: rows whose images 8-bit ranges are taken from. careful: as of `quantise_images` and `quantise_texts`.

    Raises:
        RunError: no image can be read.
    """
    for name, one in by_folder(encoders.image).items():
        quantise_images(folder / name / MODEL, _pixels(one, pairs), careful)
    for i, encoder in enumerate(encoders.text):
        if isinstance(encoder, SentenceEncoder):
            quantise_texts(folder / f"text-{i}" / MODEL, careful)


def _pixels(encoder: ImageEncoder, pairs: Pairs) -> np.ndarray:
    """Some readable images, drawn evenly over the rows."""
    rows = np.flatnonzero(pairs.has_image)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), CALIBRATION)).astype(int)]
    refs = [ref for ref in pairs.images(rows.tolist()) if ref is not None]
    pixels = [found for found, _ in (decode(encoder, ref) for ref in refs) if found is not None]
    if not pixels:
        data = option("--data", "data")
        raise RunError(f"{pairs.source}: no readable image to take 8-bit ranges from; give other rows with {data}")
    return np.stack(pixels)


def quantise_images(path: Path, pixels: np.ndarray, careful: bool = False) -> None:
    """Quantise an image graph in place: 7-bit weights a channel, 8-bit activations.

    Sums of two products of 8-bit weights overflow where a processor has no instruction for them (VNNI); of 7-bit ones
    they do not, so that answers are the same everywhere. Ranges are the extremes seen on the given images.

    Args:
        pixels: (N, 3, H, W) uint8 of the images that ranges are taken from.
        careful: matrix products and convolutions only, but for the first ones; what is computed element by element
            stays in 32 bits.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = path.with_name("prepared.onnx")
    with hushed(""):  # the quantiser speaks through the root logger
        quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready), str(path), _Reader(pixels), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            # A Clip that follows a convolution narrows the range of what that gives, and is no operation of its own.
            op_types_to_quantize=[*PRODUCTS, "Clip"] if careful else None,
            nodes_to_exclude=_first(ready) if careful else None,
        )  # fmt: skip
    ready.unlink()


def _first(path: Path) -> list[str]:
    """Names of the first convolutions."""
    import onnx

    names = [node.name for node in onnx.load(str(path)).graph.node if node.op_type == "Conv"]
    return names[: -(-len(names) // EARLY)]


def quantise_texts(path: Path, careful: bool = False) -> None:
    """Quantise a text graph in place: 8-bit weights a channel; activations as they come, batch by batch.

    Args:
        careful: layers with fewer outputs than inputs, the second of each feed-forward block, stay in 32 bits: their
            inputs have the outliers that 8 bits cannot hold (Bondarenko et al. 2021, arXiv:2109.12948).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = path.with_name("whole.onnx")
    path.rename(whole)
    with hushed(""):  # the quantiser speaks through the root logger
        kept = _contracting(whole) if careful else []
        quantize_dynamic(
            str(whole), str(path), per_channel=True, weight_type=QuantType.QInt8, nodes_to_exclude=kept
        )  # fmt: skip
    whole.unlink()


def _contracting(path: Path) -> list[str]:
    """Names of the matrix products with a weight (I, O) of I > O."""
    import onnx

    graph = onnx.load(str(path)).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found = []
    for node in graph.node:
        shape = next((shapes[name] for name in node.input if len(shapes.get(name, ())) == 2), None)
        if node.op_type in PRODUCTS and shape is not None:
            turned = any(one.name == "transB" and one.i for one in node.attribute)
            inputs, outputs = shape[::-1] if turned else shape
            found += [node.name] if inputs > outputs else []
    return found


class _Reader:
    """Calibration rows, batch by batch; what ONNX Runtime calls a data reader."""

    def __init__(self, pixels: np.ndarray):
        self._batches: Iterator[np.ndarray] = (pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}
