"""A BERT as an ONNX graph, written down without tracing it."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from plait.encoders.bert import Bert
from plait.encoders.nodes import Nodes

MASKED = 1e9  # what a token that is none loses of its attention, before the softmax


def written(network: Bert) -> bytes:
    """``input_ids`` and ``attention_mask`` (B, T) int64 -> ``found`` (B, D) float32, as a file would hold it."""
    from onnx import TensorProto

    nodes = _Nodes(network)
    mask = nodes.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    found, away = nodes.embedded(), nodes.away(mask)
    for i in range(network.form.layers):
        found = nodes.layer(found, away, f"encoder.layer.{i}.")
    nodes.pooled(found, mask)
    tokens = (TensorProto.INT64, ("rows", "tokens"))
    return nodes.written("bert", {"input_ids": tokens, "attention_mask": tokens}, ("rows", network.dim))


class _Nodes(Nodes):
    """Those of a BERT, as `plait.encoders.bert.Form` computes it."""

    def __init__(self, network: Bert):
        super().__init__()
        self.form, self.weights, self.dim = network.form, network.weights, network.dim

    def embedded(self) -> str:
        """(B, T, D) of words, positions and the first kind of token."""
        words, places, kinds = (
            self._weight(f"embeddings.{name}_embeddings.weight") for name in ("word", "position", "token_type")
        )
        length = self.add("Gather", self.add("Shape", "input_ids"), self.constant([1]))
        place = self.add("Slice", self.constant(places + kinds[0]), self.constant([0]), length, self.constant([0]))
        word = self.add("Gather", self.constant(words), "input_ids")
        return self._norm(self.add("Add", word, place), "embeddings.LayerNorm")

    def away(self, mask: str) -> str:
        """(B, 1, 1, T), added to the attention before its softmax."""
        off = self.add("Mul", self.add("Sub", mask, self.constant(1.0)), self.constant(MASKED))
        return self.add("Unsqueeze", off, self.constant([1, 2]))

    def layer(self, given: str, away: str, name: str) -> str:
        """(B, T, D) -> (B, T, D)."""
        seen = self._linear(self._attention(given, away, f"{name}attention.self."), f"{name}attention.output.dense")
        given = self._norm(self.add("Add", seen, given), f"{name}attention.output.LayerNorm")
        inner = self._gelu(self._linear(given, f"{name}intermediate.dense"))
        inner = self._linear(inner, f"{name}output.dense")
        return self._norm(self.add("Add", inner, given), f"{name}output.LayerNorm")

    def pooled(self, given: str, mask: str) -> None:
        """(B, D), the graph's output."""
        if self.form.pooling == "cls":
            found = self.add("Gather", given, self.constant(np.array(0)), axis=1)
        else:
            kept = self.add("Unsqueeze", mask, self.constant([2]))
            total = self.add("ReduceSum", self.add("Mul", given, kept), self.constant([1]), keepdims=0)
            found = self.add("Div", total, self.add("ReduceSum", mask, self.constant([1]), keepdims=1))
        if self.form.unit:
            size = self.add("ReduceL2", found, axes=[1], keepdims=1)
            found = self.add("Div", found, self.add("Max", size, self.constant(1e-12)))
        self.add("Identity", found, output="found")

    def _attention(self, given: str, away: str, name: str) -> str:
        size = self.dim // self.form.heads
        apart, together = self.constant([0, 0, self.form.heads, size]), self.constant([0, 0, self.dim])

        def part(which: str, order: list[int], scale: float = 1.0) -> str:
            found = self.add("Reshape", self._linear(given, f"{name}{which}", scale), apart)
            return self.add("Transpose", found, perm=order)

        query = part("query", [0, 2, 1, 3], size**-0.5)
        scores = self.add("MatMul", query, part("key", [0, 2, 3, 1]))
        shares = self.add("Softmax", self.add("Add", scores, away), axis=-1)
        seen = self.add("MatMul", shares, part("value", [0, 2, 1, 3]))
        return self.add("Reshape", self.add("Transpose", seen, perm=[0, 2, 1, 3]), together)

    def _linear(self, given: str, name: str, scale: float = 1.0) -> str:
        weight, bias = self._weight(f"{name}.weight") * scale, self._weight(f"{name}.bias") * scale
        return self.add("Add", self.add("MatMul", given, self.constant(weight.T)), self.constant(bias))

    def _gelu(self, given: str) -> str:
        raised = self.add("Add", self.add("Erf", self.add("Div", given, self.constant(2**0.5))), self.constant(1.0))
        return self.add("Mul", self.add("Mul", given, raised), self.constant(0.5))

    def _norm(self, given: str, name: str) -> str:
        parts = [self.constant(self._weight(f"{name}.{one}")) for one in ("weight", "bias")]
        return self.add("LayerNormalization", given, *parts, axis=-1, epsilon=self.form.epsilon)

    def _weight(self, name: str) -> np.ndarray:
        weight: Tensor = self.weights[name]
        found: np.ndarray = weight.detach().float().cpu().numpy()
        return found
