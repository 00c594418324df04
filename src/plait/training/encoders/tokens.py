"""Texts tokenised once for all epochs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from plait.encoders.prompts import prompted
from plait.training.encoders.text_batches import cut

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CHUNK = 1024  # texts tokenised at a time
PART = 16


@dataclass(frozen=True)
class Tokens:
    """N tokenised texts: N tensors (T,) for each input of the transformer.

    Attributes:
        part: texts of a batch that are padded to one length.
    """

    inputs: dict[str, list[Tensor]]
    constants: dict[str, Any]  # what else the model is given with every batch
    fill: dict[str, int]
    side: str
    part: int = PART

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(row) for row in self.inputs["input_ids"]]

    def parts(self, rows: Sequence[int]) -> tuple[list[dict[str, Any]], list[int]]:
        """Some rows as parts of like length, to waste little padding; and their numbers in the order of the parts."""
        order = sorted(rows, key=lambda row: len(self.inputs["input_ids"][row]))
        return [self.rows(part) for part in cut(order, self.part)], order

    def rows(self, rows: Sequence[int]) -> dict[str, Any]:
        """What the model takes for some rows: (B, T) each, padded to the longest."""
        padded = {
            name: pad_sequence([column[row] for row in rows], True, self.fill.get(name, 0), padding_side=self.side)
            for name, column in self.inputs.items()
        }
        return {**padded, **self.constants}


def tokenise(model: SentenceTransformer, prompt: str, texts: Sequence[str], part: int = PART) -> Tokens:
    """As `SentenceEncoder.encode` does it. `part`: see `Tokens`."""
    inputs: dict[str, list[Tensor]] = defaultdict(list)
    constants: dict[str, Any] = {}
    for i in range(0, len(texts), CHUNK):
        chunk, prefix = prompted(model, texts[i : i + CHUNK], prompt)
        features = model.preprocess(chunk, prompt=prefix or None)
        real = features["attention_mask"].bool()
        for name, value in features.items():
            if isinstance(value, Tensor) and value.shape == real.shape:
                inputs[name] += value[real].split_with_sizes(real.sum(1).tolist())
            else:
                constants[name] = value
    tokenizer = model.tokenizer
    fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    return Tokens(dict(inputs), constants, fill, tokenizer.padding_side, part)
