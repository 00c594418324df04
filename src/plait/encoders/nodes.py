"""Writing down an ONNX graph, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OPSET, IR = 17, 8  # that every ONNX Runtime plait takes knows
Axes = Sequence[str | int]


@dataclass
class Nodes:
    """Nodes in the order they run in, each with one output."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of its output."""
        from onnx import helper

        output = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, value: Any) -> str:
        """Numbers that are part of the graph: int64 where they are whole ones by type, float32 else."""
        from onnx import numpy_helper

        name, found = f"c{len(self.constants)}", np.asarray(value)
        kind = np.int64 if found.dtype.kind == "i" else np.float32
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(found, kind).reshape(found.shape), name))
        return name

    def written(self, name: str, inputs: dict[str, tuple[int, Axes]], axes: Axes) -> bytes:
        """The graph, as a file would hold it.

        Args:
            inputs: type (of ``onnx.TensorProto``) and axes of each. axes: of the float32 output ``found``.
        """
        from onnx import TensorProto, helper

        given = [helper.make_tensor_value_info(one, kind, list(shape)) for one, (kind, shape) in inputs.items()]
        output = helper.make_tensor_value_info("found", TensorProto.FLOAT, list(axes))
        graph = helper.make_graph(self.nodes, name, given, [output], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        return bytes(model.SerializeToString())
