"""Encoders and heads of PyTorch as ONNX graphs, checked against what they were made from.

Graphs are made of copies on the CPU: what they are made from stays on its device, and as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from plait.encoders import bert_graph, efficientnet_graph
from plait.encoders.bert import Bert
from plait.encoders.efficientnet import EfficientNet
from plait.encoders.folding import folded
from plait.encoders.image import TimmEncoder
from plait.encoders.onnx import Graph
from plait.encoders.pixels import normalise
from plait.encoders.text import SentenceEncoder
from plait.errors import EncoderError, RunError
from plait.fusion.model import Model
from plait.progress import hushed

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TOLERANCE = 1e-4  # of a graph's largest output, from PyTorch's
ROWS = 3  # of the examples; not 1, which would be taken for a constant
LENGTH = 7  # tokens of the examples
WHOLE = 500_000_000  # weights of a graph that one file holds, at most
Inputs = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)
TALKERS = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")  # the exporter speaks of its own steps


def image_graph(encoder: TimmEncoder, path: Path) -> None:
    """``pixels`` (B, 3, H, W) uint8 -> ``vectors`` (B, D) float32, normalisation and folded batch norms within.

    An EfficientNet's is written down, any other network's traced.
    """
    size = encoder.settings["input_size"]
    pixels = torch.randint(0, 256, (ROWS, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    inputs, model = {"pixels": pixels}, _on_cpu(encoder.model)
    network, module = EfficientNet.of(model), _Pixels(model, encoder.settings)
    if network is not None and _put(efficientnet_graph.written(network, encoder.settings), module, inputs, path):
        return
    model = folded(model, normalise(pixels, encoder.settings))
    write(_Pixels(model, encoder.settings), inputs, path, {"pixels": ("batch",)})


def text_graph(encoder: SentenceEncoder, path: Path) -> None:
    """``input_ids`` and ``attention_mask`` (B, T) int64 -> ``vectors`` (B, D) float32.

    A plain BERT's is written down, any other network's traced.

    Raises:
        RunError: a model that has no such graph, e.g. an LSTM tower.
    """
    size = len(encoder.model.tokenizer.get_vocab())
    ids = torch.randint(0, size, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, LENGTH // 2 :] = 0
    inputs, model = {"input_ids": ids, "attention_mask": mask}, _on_cpu(encoder.model)
    network, module = Bert.of(model), _tokens(model, encoder.name)
    if network is not None and sum(one.numel() for one in network.weights.values()) > WHOLE:
        network = None
    if network is None or not _put(bert_graph.written(network), module, inputs, path):
        write(module, inputs, path, dict.fromkeys(inputs, ("batch", "length")))


def head_graph(head: Model, dims: Mapping[str, int], path: Path) -> None:
    """``S`` (B, D_s) float32 and ``S_present`` (B,) bool of each modality S -> ``logits`` (B, K), calibrated."""
    inputs: Inputs = {}
    for i, (modality, dim) in enumerate(sorted(dims.items())):
        inputs[modality] = torch.randn(ROWS, dim, generator=torch.Generator().manual_seed(i))
        inputs[f"{modality}_present"] = torch.tensor([True, i > 0, False])
    head = _on_cpu(head)
    module = _Head(head) if len(dims) > 1 else _ModalityHead(head, *dims)
    write(module, inputs, path, dict.fromkeys(inputs, ("batch",)))


def write(module: nn.Module, inputs: Inputs, path: Path, axes: Mapping[str, tuple[str, ...]]) -> None:
    """Write one graph, and check that it answers as the module does.

    Args:
        inputs: an example of each input, in the order of the module's ``forward``.
        axes: names of the leading axes of each input that may have any length.

    Raises:
        RunError: no graph can be made of the module, or it answers otherwise.
    """
    module = module.eval().requires_grad_(False)
    shapes = tuple(dict(enumerate(torch.export.Dim.DYNAMIC for _ in axes[name])) for name in inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        wanted = module(*inputs.values()).numpy()
    with hushed(*TALKERS), torch.no_grad():
        try:
            torch.onnx.export(
                module, tuple(inputs.values()), str(path), dynamo=True, dynamic_shapes=shapes, external_data=True,
                input_names=list(inputs), output_names=["found"], verbose=False,
            )  # fmt: skip
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise RunError(
                f"{type(module).__name__.lstrip('_')}: no ONNX graph can be made of it ({reason})"
            ) from error
    inline(path)
    _check(path, inputs, wanted)


def _put(content: bytes, module: nn.Module, inputs: Inputs, path: Path) -> bool:
    """Write a graph that was not traced; whether it answers as the module does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with torch.inference_mode():
        wanted = module.eval()(*inputs.values()).numpy()
    try:
        _check(path, inputs, wanted)
    except RunError:  # a network built in another way than its name and weights say
        return False
    return True


def _check(path: Path, inputs: Inputs, wanted: np.ndarray) -> None:
    """Raise RunError where a graph answers otherwise than what it was made from."""
    found = Graph(path)({name: value.numpy() for name, value in inputs.items()})
    worst = float(np.abs(found - wanted).max())
    if not worst <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise RunError(f"{path.parent.name}: the ONNX graph is off by {worst:.2g}; please report this model")


def inline(path: Path) -> None:
    """One file where the weights fit into it; those of 2 GB and more stay beside it, in ``model.onnx.data``."""
    import onnx

    beside = path.with_name(path.name + ".data")
    if beside.is_file() and beside.stat().st_size < onnx.checker.MAXIMUM_PROTOBUF - (1 << 24):
        model = onnx.load(str(path))
        beside.unlink()
        onnx.save(model, str(path))


def _on_cpu(module: Module) -> Module:
    return copy.deepcopy(module).cpu()


class _Pixels(nn.Module):
    def __init__(self, model: nn.Module, settings: Mapping[str, Any]):
        super().__init__()
        self.model = model
        self.mean: Tensor
        self.std: Tensor
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(settings[name]).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.model((pixels.float() - self.mean) / self.std)
        return found


class _Head(nn.Module):
    """Of both modalities, in sorted order."""

    def __init__(self, head: Model):
        super().__init__()
        self.head = head

    def forward(self, image: Tensor, image_present: Tensor, text: Tensor, text_present: Tensor) -> Tensor:
        found: Tensor = self.head({"image": image, "text": text}, {"image": image_present, "text": text_present})
        return found


class _ModalityHead(nn.Module):
    """Of one modality."""

    def __init__(self, head: Model, modality: str):
        super().__init__()
        self.head, self.modality = head, modality

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        found: Tensor = self.head({self.modality: vectors}, {self.modality: present})
        return found


def _tokens(model: SentenceTransformer, name: str) -> nn.Module:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer

    first = model[0]
    if isinstance(first, StaticEmbedding):
        return _Static(first.embedding.weight, list(model)[1:])
    if not isinstance(first, Transformer):
        raise EncoderError(f"text.model '{name}' cannot be exported; use a transformer, static or tfidf")
    return _Sentence(model)


class _Sentence(nn.Module):
    """A transformer and what follows it."""

    def __init__(self, model: SentenceTransformer):
        super().__init__()
        self.modules_ = nn.ModuleList(model)
        transformer: Any = model[0]
        # Its masks are made by plain operations, which every graph has.
        transformer.model.set_attn_implementation("eager")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        for module in self.modules_:
            features = module(features)
        return features["sentence_embedding"].float()  # type: ignore[no-any-return]


class _Static(nn.Module):
    """The mean of static vectors, of zeros for a text without any token."""

    def __init__(self, weight: Tensor, then: list[nn.Module]):
        super().__init__()
        self.weight = nn.Parameter(weight.detach().float(), requires_grad=False)
        self.then = nn.ModuleList(then)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[..., None].float()
        mean = (self.weight[input_ids] * mask).sum(1) / mask.sum(1).clamp_min(1)
        features: dict[str, Any] = {"sentence_embedding": mean}
        for module in self.then:
            features = module(features)
        return features["sentence_embedding"]  # type: ignore[no-any-return]
