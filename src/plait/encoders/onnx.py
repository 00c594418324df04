"""Encoders as ONNX graphs, run by ONNX Runtime, NumPy and Pillow alone; what `plait export` writes."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from plait.encoders.base import Modality, fingerprint
from plait.encoders.pixels import Preprocessing
from plait.encoders.prompts import FIELD, cut, room_for
from plait.errors import EncoderError
from plait.files import digest

MODEL, SETTINGS, TOKENIZER = "model.onnx", "preprocessing.json", "tokenizer.json"


class Graph:
    """An ONNX graph with one output; called with its named inputs.

    Args:
        source: a file, or what it would hold. threads: to run on; 0: one for each core.
    """

    def __init__(self, source: Path | bytes, threads: int = 0):
        self.source, self.threads = source, threads
        try:
            import onnxruntime as ort
        except ImportError:
            raise EncoderError("an exported run needs ONNX Runtime; pip install 'plait[onnx]'") from None
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        # Threads that wait actively gain nothing here, and take their time from whoever else computes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        given = source if isinstance(source, bytes) else str(source)
        self.session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        (self.output,) = self.session.get_outputs()
        self.inputs = {one.name for one in self.session.get_inputs()}

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (self.source, self.threads)

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        given = {name: value for name, value in inputs.items() if name in self.inputs}
        (found,) = self.session.run(None, given)
        return np.asarray(found, np.float32)


class _OnnxEncoder:
    graph: Graph
    part: dict[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """Names graph, tokenizer and preprocessing."""
        folder = cast(Path, self.graph.source).parent
        digests = {file.name: digest(file) for file in sorted(folder.iterdir()) if file.is_file()}
        return fingerprint({"part": self.part, "files": digests}, {})

    def save(self, folder: Path) -> dict[str, Any]:
        """Graphs are written by `plait export` alone. Raises EncoderError."""
        raise EncoderError("an exported encoder cannot be saved again; copy its folder")


class OnnxImageEncoder(_OnnxEncoder):
    """The image modality as a graph: ``pixels`` (B, 3, H, W) uint8 -> (B, dim)."""

    modality: Modality = "image"

    def __init__(self, graph: Graph, settings: dict[str, Any], part: dict[str, Any]):
        self.graph, self.preprocess = graph, Preprocessing(settings)
        self.part, self.name, self.dim = part, str(part["name"]), int(part["dim"])

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return self.preprocess.size[-1]

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) uint8 -> (B, dim) float32."""
        return self.graph({"pixels": pixels})

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], *_: Any) -> OnnxImageEncoder:
        """Read what `plait export` wrote."""
        return cls(Graph(folder / MODEL), json.loads((folder / SETTINGS).read_text("utf-8")), part)


class OnnxTextEncoder(_OnnxEncoder):
    """The text modality as a graph: ``input_ids`` and ``attention_mask`` (B, T) int64 -> (B, dim)."""

    modality: Modality = "text"
    quick = False

    def __init__(self, graph: Graph, tokenizer: Any, part: dict[str, Any]):
        self.graph, self.tokenizer = graph, tokenizer
        self.part, self.name, self.dim = part, str(part["name"]), int(part["dim"])
        self.batch, self.prompt = int(part["batch"]), str(part["prompt"])
        self.pad, self.limit = int(part["pad"]), int(part["max_length"])
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # One for texts with their prompt, one that measures a text without it.
        self.whole = type(tokenizer).from_str(tokenizer.to_str())
        tokenizer.enable_truncation(self.limit)

    def encode(self, texts: list[str]) -> np.ndarray:
        """(B,) texts -> (B, dim) float32."""
        ids = [one.ids for one in self.tokenizer.encode_batch(self._prompted(texts))]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))  # texts of like length waste no padding
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            vectors[rows] = self.graph(self._padded([ids[row] for row in rows]))
        return vectors

    def _prompted(self, texts: list[str]) -> list[str]:
        """As `plait.encoders.prompts.prompted` does it."""
        if FIELD not in self.prompt:
            return [self.prompt + text for text in texts]
        room = room_for(self.limit, len(self.whole.encode(self.prompt.replace(FIELD, "")).ids))
        places = [one.offsets for one in self.whole.encode_batch(texts, add_special_tokens=False)]
        return [self.prompt.replace(FIELD, text) for text in cut(texts, places, room)]

    def _padded(self, ids: list[list[int]]) -> dict[str, np.ndarray]:
        shape = len(ids), max(map(len, ids))
        tokens, mask = np.full(shape, self.pad, np.int64), np.zeros(shape, np.int64)
        for row, one in enumerate(ids):
            tokens[row, : len(one)], mask[row, : len(one)] = one, 1
        return {"input_ids": tokens, "attention_mask": mask}

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], *_: Any) -> OnnxTextEncoder:
        """Read what `plait export` wrote."""
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise EncoderError("an exported run with texts needs tokenizers; pip install 'plait[onnx]'") from None
        return cls(Graph(folder / MODEL), Tokenizer.from_file(str(folder / TOKENIZER)), part)
