"""Which token vectors become the vector of a text, and what a decoder (LLaMA and its like) needs to be an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plait.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PoolingChoice = Literal["mean", "cls", "last"]
MODES: dict[PoolingChoice, Literal["mean", "cls", "lasttoken"]] = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


def set_pooling(model: SentenceTransformer, choice: PoolingChoice, name: str) -> None:
    """Pool as asked for, in place.

    Raises:
        ConfigError: the model pools no token vectors.
    """
    from sentence_transformers.sentence_transformer.modules import Pooling

    found = [i for i, module in enumerate(model) if isinstance(module, Pooling)]
    if not found:
        raise ConfigError(f"text.pooling={choice}: '{name}' pools no token vectors; leave text.pooling away")
    old: Any = model[found[0]]
    model[found[0]] = Pooling(old.embedding_dimension, MODES[choice], old.include_prompt)


def set_padding(model: SentenceTransformer, name: str) -> None:
    """Give a tokenizer without a padding token its end token as one, in place; padding is masked in any case.

    Raises:
        EncoderError: it has neither.
    """
    tokenizer: Any = model.tokenizer
    if getattr(tokenizer, "pad_token", "") is None:
        if tokenizer.eos_token is None:
            raise EncoderError(
                f"text.model '{name}': its tokenizer has neither a padding nor an end token; add one to its files"
            )
        tokenizer.pad_token = tokenizer.eos_token


def set_up_decoder(model: SentenceTransformer, path: str) -> None:
    """Pad a decoder's texts on the right, in place, and take the last token's vector, which alone has read all the
    text, for that of a plain decoder's text.

    Plain checkpoints are those that transformers wrote. Of others sentence-transformers pools the mean already, and of
    decoders too where the weights were saved without their language-model head.
    """
    from sentence_transformers.sentence_transformer.modules import Transformer
    from sentence_transformers.util import is_sentence_transformer_model

    first: Any = model[0]
    if not isinstance(first, Transformer) or not is_decoder(first.config):
        return
    # A decoder looks back only, so what pads on the right changes no position and no vector.
    model.tokenizer.padding_side = "right"
    if is_sentence_transformer_model(path):
        return
    set_pooling(model, "last", path)
    # Prompts are put before a text, or around it; a chat template would make a conversation of both.
    if "text" in first.modality_config:
        first.modality_config.pop("message", None)
        first.input_formatter.supported_modalities = list(first.modality_config)


def is_decoder(config: Any) -> bool:
    """Whether a transformer was trained to continue texts, and looks back only."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    continues = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return continues and not config.is_encoder_decoder and getattr(config, "is_causal", True)
