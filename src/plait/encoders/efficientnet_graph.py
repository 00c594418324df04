"""An EfficientNet as an ONNX graph, written down without tracing it.

In 32 bits on a processor ONNX Runtime looks at pictures faster than PyTorch (`benchmarks.suite` says by how much), and
sees the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.encoders.efficientnet import Block, Convolution, EfficientNet
from plait.encoders.nodes import Nodes
from plait.encoders.onnx import Graph


def graph_of(network: EfficientNet, settings: Mapping[str, Any]) -> Graph | None:
    """``pixels`` (B, 3, H, W) uint8 -> (B, dim) float32, on as many threads as PyTorch; None without ONNX Runtime.

    Args:
        settings: of its preprocessing; mean and standard deviation become a part of the graph.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        return None
    return Graph(written(network, settings), torch.get_num_threads())


def written(network: EfficientNet, settings: Mapping[str, Any]) -> bytes:
    """The graph of `graph_of`, as a file would hold it."""
    from onnx import TensorProto

    nodes = _Nodes(network.form.capped)
    found = nodes.add("Cast", "pixels", to=TensorProto.FLOAT)
    for operation, name in (("Sub", "mean"), ("Div", "std")):
        constant = 255 * np.array(settings[name], np.float32).reshape(1, 3, 1, 1)
        found = nodes.add(operation, found, nodes.constant(constant))
    found = nodes.activated(nodes.convolved(found, network.stem))
    for block in network.blocks:
        found = nodes.block(found, block)
    found = nodes.activated(nodes.convolved(found, network.head))
    nodes.add("Flatten", nodes.add("GlobalAveragePool", found), output="found")
    pixels = (TensorProto.UINT8, ("rows", 3, "height", "width"))
    return nodes.written("efficientnet", {"pixels": pixels}, ("rows", network.dim))


class _Nodes(Nodes):
    """Those of an EfficientNet.

    Args:
        capped: whether activations end at 6, or are SiLU.
    """

    def __init__(self, capped: bool):
        super().__init__()
        self.capped = capped

    def convolved(self, given: str, convolution: Convolution) -> str:
        weight = convolution.weight
        groups = weight.shape[0] if weight.shape[1] == 1 else 1  # depthwise, or dense
        return self._conv(given, weight, convolution.bias, convolution.stride, groups)

    def activated(self, given: str) -> str:
        if self.capped:
            low, high = self.constant(0.0), self.constant(6.0)
            return self.add("Clip", given, low, high)
        return self.add("Mul", given, self.add("Sigmoid", given))

    def block(self, given: str, block: Block) -> str:
        """As `Block` has it."""
        found, last = given, len(block.convolutions) - 1
        for i, convolution in enumerate(block.convolutions):
            found = self.convolved(found, convolution)
            if i < last or not block.is_linear:
                found = self.activated(found)
            if i == last - 1 and block.squeezed is not None:
                reduce, reduced, expand, expanded = block.squeezed
                gate = self._conv(self.add("GlobalAveragePool", found), reduce, reduced)
                gate = self._conv(self.activated(gate), expand, expanded)
                found = self.add("Mul", found, self.add("Sigmoid", gate))
        return self.add("Add", found, given) if block.adds else found

    def _conv(self, given: str, weight: Tensor, bias: Tensor, stride: int = 1, groups: int = 1) -> str:
        """Padded as TensorFlow does it."""
        parts = [self.constant(part.detach().float().contiguous().numpy()) for part in (weight, bias)]
        return self.add(
            "Conv", given, *parts, auto_pad="SAME_UPPER", strides=[stride] * 2, group=groups,
            kernel_shape=list(weight.shape[-2:]),
        )  # fmt: skip
