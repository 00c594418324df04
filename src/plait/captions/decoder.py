"""A small decoder on the features of an image encoder, trained from scratch: captions in a catalogue's own words.

After ClipCap (Mokady et al. 2021, arXiv:2111.09734): the features become the first few vectors of a text, and a
transformer goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from plait.encoders.base import ImageEncoder, fingerprint
from plait.encoders.pair import EncoderPair
from plait.files import read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

PREFIX = 4  # vectors that the features become
HEAD = 64  # dimensions of an attention head
END, PAD = 0, 1  # tokens: of the end and the start, and of nothing
BATCH = 256  # images captioned at once
FILE, TOKENS, WEIGHTS = "captioner.json", "tokenizer.json", "decoder.safetensors"


@dataclass(frozen=True)
class DecoderSpec:
    """Shape of a decoder: features (D), vocabulary, width, layers, longest caption in tokens."""

    features: int
    vocabulary: int
    width: int
    layers: int
    max_tokens: int
    dropout: float = 0.0


class Decoder(nn.Module):
    """Features of an image and the tokens so far -> the next token."""

    def __init__(self, spec: DecoderSpec):
        super().__init__()
        self.spec = spec
        width = spec.width
        self.prefix = nn.Sequential(
            nn.LayerNorm(spec.features), nn.Linear(spec.features, width * PREFIX), nn.GELU(),
            nn.Linear(width * PREFIX, width * PREFIX),
        )  # fmt: skip
        self.words = nn.Embedding(spec.vocabulary, width)
        self.places = nn.Embedding(PREFIX + spec.max_tokens + 1, width)
        layer = nn.TransformerEncoderLayer(
            width, max(1, width // HEAD), 4 * width, spec.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, spec.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.drop = nn.Dropout(spec.dropout)
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """(B, D) features and (B, T) tokens that begin with `END` -> (B, T, V) logits of the token after each."""
        start = self.prefix(features).unflatten(1, (PREFIX, self.spec.width))
        inputs = torch.cat([start, self.words(tokens)], 1)
        length = inputs.shape[1]
        inputs = self.drop(inputs + self.places.weight[:length])
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=inputs.device)
        found: Tensor = self.layers(inputs, mask, is_causal=True)[:, PREFIX:]
        return found @ self.words.weight.T

    @torch.inference_mode()
    def generate(self, features: Tensor) -> Tensor:
        """(B, D) features -> (B, T) most probable tokens, one after another, each row up to its first `END`.

        No two tokens follow each other twice: a network that has learnt little would say them for ever.
        """
        tokens = torch.full((len(features), 1), END, device=features.device)
        open_rows = torch.ones(len(features), dtype=torch.bool, device=features.device)
        for _ in range(self.spec.max_tokens):
            logits = self(features, tokens)[:, -1]
            again = (tokens[:, :-1] == tokens[:, -1:]).to(logits)  # where the last token stood before
            said = torch.zeros_like(logits).scatter_reduce_(1, tokens[:, 1:], again, "amax")
            following = logits.masked_fill_(said > 0, -torch.inf).argmax(1)
            following[~open_rows] = END
            tokens = torch.cat([tokens, following[:, None]], 1)
            open_rows &= following != END
            if not open_rows.any():
                break
        return tokens[:, 1:]


class DecoderCaptioner:
    """An image encoder, a decoder on its features, and the tokenizer of its words."""

    kind = "decoder"

    def __init__(self, encoder: ImageEncoder, decoder: Decoder, tokenizer: Tokenizer, name: str = "decoder"):
        self.encoder, self.decoder, self.tokenizer, self.name = encoder, decoder.eval(), tokenizer, name

    @property
    def fingerprint(self) -> str:
        """Equal for captioners that write the same of every image."""
        known = [self.encoder.fingerprint, self.tokenizer.to_str(), asdict(self.decoder.spec)]
        return fingerprint({"captioner": known}, self.decoder.state_dict())

    def of_features(self, features: np.ndarray) -> list[str]:
        """Captions of images by their features (N, D)."""
        device = next(self.decoder.parameters()).device
        found: list[str] = []
        for start in range(0, len(features), BATCH):
            part = torch.from_numpy(features[start : start + BATCH])
            found += [self._said(row) for row in self.decoder.generate(part.to(device)).tolist()]
        return found

    def _said(self, tokens: list[int]) -> str:
        kept = tokens[: tokens.index(END)] if END in tokens else tokens
        return str(self.tokenizer.decode(kept)).strip()

    def caption(self, images: Sequence[Any]) -> list[str]:
        """Captions of Pillow images, RGB."""
        import numpy as np

        return self.of_features(self.encoder.encode(np.stack([self.encoder.preprocess(one) for one in images])))

    def save(self, folder: Path) -> None:
        """Write JSON and safetensors into a folder."""
        from safetensors.torch import save_file

        settings = EncoderPair(self.encoder, []).save(folder)
        self.tokenizer.save(str(folder / TOKENS))
        weights = {name: value.contiguous() for name, value in self.decoder.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        write_json(folder / FILE, {"kind": self.kind, "spec": asdict(self.decoder.spec), "encoders": settings})

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> DecoderCaptioner:
        """Read what `save` wrote."""
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        facts = read_json(folder / FILE)
        decoder = Decoder(DecoderSpec(**facts["spec"]))
        decoder.load_state_dict(load_file(folder / WEIGHTS))
        encoder = EncoderPair.load(folder, facts["encoders"], device).image
        assert encoder is not None
        return cls(encoder, decoder.to(device), Tokenizer.from_file(str(folder / TOKENS)), folder.name)


def tokenizer_of(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE of some texts (Sennrich et al. 2016), which can say whatever they say."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<end>", "<pad>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def as_tokens(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> Tensor:
    """(N, most + 1) int64 tokens of texts, each ended by `END` where there is room, and filled up with `PAD`."""
    rows = torch.full((len(texts), most + 1), PAD)
    for row, encoding in zip(rows, tokenizer.encode_batch(list(texts)), strict=True):
        ids = encoding.ids[:most]
        row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        row[len(ids)] = END
    return rows


def is_decoder(folder: Path) -> bool:
    """Whether a folder holds what `DecoderCaptioner.save` wrote."""
    try:
        return bool(json.loads((folder / FILE).read_text("utf-8"))["kind"] == DecoderCaptioner.kind)
    except (OSError, ValueError, KeyError, TypeError):
        return False
