"""A bidirectional LSTM over the token vectors of a transformer, as a module of sentence-transformers."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import LSTM

from plait.devices import has_bf16_lstm, in_32_bits


class BiLSTM(LSTM):
    """sentence-transformers' own LSTM, for batches that come with an attention mask instead of lengths.

    Stands between a ``Transformer`` and a ``Pooling`` module; saved and loaded as its parent is.

    Args:
        embedding_dimension: D, of the token vectors.
        hidden_dim: H, units of each direction.
        num_layers: LSTMs on top of each other.
        dropout: between them.
        bidirectional: the second half of the output reads backwards.
    """

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Replace ``token_embeddings`` (B, T, D) by (B, T, 2 H), zero where ``attention_mask`` (B, T) is zero.

        Padding may be on either side. A row without any token is given its first place, for Pooling to pool.
        """
        tokens, mask = features["token_embeddings"], features["attention_mask"].clone()
        mask[mask.sum(1) == 0, :1] = 1
        # The LSTM wants padding on the right: tokens go to the front, in their order, and their outputs back.
        order = mask.argsort(dim=1, descending=True, stable=True)
        front = {"token_embeddings": _along(tokens, order), "sentence_lengths": mask.sum(1)}
        out = self._run(front)["token_embeddings"]
        out = torch.nn.functional.pad(out, (0, 0, 0, mask.shape[1] - out.shape[1]))
        return {**features, "attention_mask": mask, "token_embeddings": _along(out, order.argsort(dim=1))}

    def _run(self, features: dict[str, Any]) -> dict[str, Any]:
        """The LSTM, in 32 bits where the caller computes in bfloat16 and the device has none of that kind."""
        tokens = features["token_embeddings"]
        kind = tokens.device.type
        bf16 = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
        if not bf16 or has_bf16_lstm(kind):
            return dict(super().forward(features))
        with in_32_bits(tokens.device):
            return dict(super().forward({**features, "token_embeddings": tokens.float()}))


def _along(vectors: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return vectors.gather(1, order[..., None].expand(-1, -1, vectors.shape[-1]))
