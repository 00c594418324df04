"""BERTs run directly: what most sentence encoders are, opened and run without the libraries that train them.

The network of Devlin et al. 2018 (arXiv:1810.04805), its token vectors pooled. For a CPU, where products of matrices
cost and calls do not: texts of one length go through it together, so that nothing is padded and nothing masked. Answers
are those of sentence-transformers but for rounding.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.config import Precision
from plait.encoders.base import FromFiles, Modality, computing, fingerprint, in_bf16
from plait.encoders.prompts import FIELD

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

TOKENS = 4096  # of a forward pass, about: the matrix products of more are no faster
POOLINGS = ("mean", "cls")
A_LAYER, OUTSIDE = 16, 5  # tensors of a layer, and of the embeddings; two of a pooler may follow, which nothing reads
TOKENIZER, WEIGHTS = "tokenizer.json", "model.safetensors"


@dataclass(frozen=True)
class Form:
    """What a BERT's weights do not tell.

    Attributes:
        layers, heads: of the transformer. epsilon: of its layer norms. pooling: of `POOLINGS`.
        unit: whether vectors are brought to length 1.
    """

    layers: int
    heads: int
    epsilon: float
    pooling: str
    unit: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], modules: Sequence[tuple[str, Mapping[str, Any]]]) -> Form | None:
        """The form of a transformer's configuration and of the modules on top; None where it is not a plain BERT.

        Args:
            modules: class name and settings of each module, the transformer first.
        """
        names = tuple(name for name, _ in modules)
        if names not in (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")):
            return None
        pooling = modules[1][1]
        plain = (
            config.get("model_type") == "bert"
            and config.get("hidden_act") == "gelu"
            and config.get("position_embedding_type", "absolute") == "absolute"
            and not config.get("is_decoder")
            and pooling.get("pooling_mode") in POOLINGS
            and pooling.get("include_prompt", True)
        )
        if not plain:
            return None
        return cls(
            config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"],
            pooling["pooling_mode"], len(names) == 3,
        )  # fmt: skip

    def fits(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether the weights are those of such a network, and no others."""
        return len(weights) in (extra + OUTSIDE + A_LAYER * self.layers for extra in (0, 2)) and all(
            f"encoder.layer.{i}.attention.self.query.weight" in weights for i in range(self.layers)
        )

    def vectors(self, weights: Mapping[str, Tensor], ids: Tensor) -> Tensor:
        """(B, T) token numbers of texts of one length -> (B, D)."""
        first = "embeddings."
        found = (
            F.embedding(ids, weights[f"{first}word_embeddings.weight"])
            + weights[f"{first}position_embeddings.weight"][: ids.shape[1]]
            + weights[f"{first}token_type_embeddings.weight"][0]
        )
        found = self._norm(weights, f"{first}LayerNorm", found)
        for i in range(self.layers):
            found = self._layer(weights, f"encoder.layer.{i}.", found)
        pooled = found.float().mean(1) if self.pooling == "mean" else found[:, 0].float()
        return F.normalize(pooled, dim=1) if self.unit else pooled

    def _layer(self, weights: Mapping[str, Tensor], name: str, given: Tensor) -> Tensor:
        shape = (*given.shape[:2], self.heads, -1)
        query, key, value = (
            _linear(weights, f"{name}attention.self.{part}", given).view(shape).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(given.shape)
        seen = _linear(weights, f"{name}attention.output.dense", seen)
        given = self._norm(weights, f"{name}attention.output.LayerNorm", seen + given)
        inner = F.gelu(_linear(weights, f"{name}intermediate.dense", given))
        return self._norm(weights, f"{name}output.LayerNorm", _linear(weights, f"{name}output.dense", inner) + given)

    def _norm(self, weights: Mapping[str, Tensor], name: str, given: Tensor) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.layer_norm(given, given.shape[-1:], weight, bias, self.epsilon)


def _linear(weights: Mapping[str, Tensor], name: str, given: Tensor) -> Tensor:
    return F.linear(given, weights[f"{name}.weight"], weights[f"{name}.bias"])


class Bert:
    """A network with its tokenizer.

    Args:
        weights: by their names in the network.
        tokenizer: changed, so that it cuts texts to `limit` tokens and pads none.
        limit: tokens of a text; None: any number.
    """

    def __init__(self, form: Form, weights: Mapping[str, Tensor], tokenizer: Tokenizer, limit: int | None):
        self.form, self.weights, self.limit = form, weights, limit
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        if limit is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(limit)

    @classmethod
    def of(cls, model: SentenceTransformer) -> Bert | None:
        """That of an open model; None where it is anything else, e.g. has adapters or an LSTM."""
        from tokenizers import Tokenizer

        first: Any = model[0]
        network: Any = getattr(first, "model", None)
        backend: Any = getattr(model.tokenizer, "backend_tokenizer", None)
        if type(network).__name__ != "BertModel" or backend is None or getattr(first, "do_lower_case", False):
            return None
        parts: list[Any] = list(model)
        form = Form.of(
            network.config.to_dict(),
            [(type(one).__name__, one.get_config_dict() if hasattr(one, "get_config_dict") else {}) for one in parts],
        )
        weights = dict(network.named_parameters())
        if form is None or not form.fits(weights):
            return None
        # a copy: the model's own is told anew how to cut and pad by whoever uses it
        return cls(form, weights, Tokenizer.from_str(backend.to_str()), model.max_seq_length)

    @classmethod
    def read(cls, folder: Path, limit: int | None) -> Bert | None:
        """That of a sentence-transformers folder; None where it holds anything else, or cannot be read."""
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        try:
            config, modules, whole = (
                json.loads((folder / name).read_text("utf-8"))
                for name in ("config.json", "modules.json", "config_sentence_transformers.json")
            )
            if whole.get("default_prompt_name") or any(".." in part["path"] for part in modules):
                return None
            kinds = [
                (part["type"].rpartition(".")[2], _read(folder / part["path"] / "config.json")) for part in modules
            ]
            if (form := Form.of(config, kinds)) is None or not (folder / TOKENIZER).is_file():
                return None
            weights = load_file(folder / WEIGHTS)
            return (
                cls(form, weights, Tokenizer.from_file(str(folder / TOKENIZER)), limit) if form.fits(weights) else None
            )
        except Exception:  # tokenizers raises no narrower one; whoever opens the whole model says what is wrong
            return None

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self.weights["embeddings.LayerNorm.weight"].numel()

    def fingerprint(self, prompt: str, bf16: bool) -> str:
        """32 hex digits, the same of an open model and of its files."""
        settings = {
            "bert": asdict(self.form), "tokenizer": self._tokenizer.to_str(), "max_length": self.limit,
            "prompt": prompt, "bf16": bf16,
        }  # fmt: skip
        return fingerprint(settings, self.weights)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(B,) texts with their prompts -> (B, D) float32."""
        tokens = [one.ids for one in self._tokenizer.encode_batch_fast(list(texts))]
        rows: dict[int, list[int]] = defaultdict(list)
        for row, numbers in enumerate(tokens):
            rows[len(numbers)].append(row)
        out = np.empty((len(tokens), self.dim), np.float32)
        with torch.inference_mode():
            for length, alike in sorted(rows.items()):
                size = max(1, TOKENS // max(1, length))
                for start in range(0, len(alike), size):
                    part = alike[start : start + size]
                    ids = torch.tensor([tokens[row] for row in part])
                    out[part] = self.form.vectors(self.weights, ids).float().numpy()
        return out


class BertEncoder(FromFiles):
    """A BERT that answers from its files; anything else that is asked of it opens the whole model.

    Args:
        settings: what `SentenceEncoder.save` returned.
        whole: opens the whole model.
    """

    modality: Modality = "text"
    quick = False

    def __init__(self, network: Bert, settings: Mapping[str, Any], whole: Callable[[], Any]):
        super().__init__(whole)
        self.name, self.prompt = settings["name"], settings["prompt"]
        self.precision: Precision = settings.get("precision", "32")
        self.dim = network.dim
        self._network = network
        self._device = torch.device("cpu")
        self._bf16 = in_bf16(self.precision, self._device)
        self.fingerprint = network.fingerprint(self.prompt, self._bf16)

    @classmethod
    def read(cls, folder: Path, settings: Mapping[str, Any], whole: Callable[[], Any]) -> BertEncoder | None:
        """Open what `SentenceEncoder.save` wrote; None where that is not a plain BERT with a plain prompt."""
        if "max_length" not in settings or FIELD in settings["prompt"]:
            return None
        network = Bert.read(folder, settings["max_length"])
        return None if network is None else cls(network, settings, whole)

    @property
    def parameters(self) -> int:
        """How many the network has."""
        return sum(one.numel() for one in self._network.weights.values())

    def encode(self, texts: list[str]) -> np.ndarray:
        """(B,) texts -> (B, dim) float32."""
        with computing(self._bf16, self._device):
            return self._network.encode([self.prompt + text for text in texts])


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found
