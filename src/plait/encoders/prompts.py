"""Prompts: words before a text, or a template that the text is put into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plait.errors import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FIELD = "{text}"
# For decoders, whose last token then stands for the text: Li & Li 2023 (arXiv:2309.12871), "AnglE-optimized Text
# Embeddings".
ANGLE_PROMPT = f'Summarize sentence "{FIELD}" in one word:"'
SLACK = 2  # tokens that a text may gain where it meets its prompt


def prompted(model: SentenceTransformer, texts: Sequence[str], prompt: str) -> tuple[list[str], str]:
    """Texts and the prefix that ``model.encode`` or ``model.preprocess`` is to put before each of them.

    A prompt with ``{text}`` is a template: the texts come back in their places, each cut so that the template is read
    to its end, and the prefix is empty. Any other prompt is the prefix, and without one the model's default is.

    Raises:
        ConfigError: the template alone is longer than what the model reads.
    """
    if FIELD not in prompt:
        return list(texts), prompt or model.prompts.get(model.default_prompt_name or "") or ""
    return [prompt.replace(FIELD, text) for text in _fitting(model, list(texts), prompt)], ""


def _fitting(model: SentenceTransformer, texts: list[str], template: str) -> list[str]:
    """Texts cut to the tokens that the template leaves them."""
    tokenizer, limit = model.tokenizer, model.max_seq_length
    if limit is None or not texts or not getattr(tokenizer, "is_fast", False):
        return texts
    room = room_for(limit, len(tokenizer(template.replace(FIELD, ""), verbose=False)["input_ids"]))
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    return cut(texts, tokenizer(texts, **options)["offset_mapping"], room)


def room_for(limit: int, template: int) -> int:
    """Tokens that a template of so many tokens leaves a text. Raises ConfigError where it leaves none."""
    room = limit - template - SLACK
    if room < 1:
        raise ConfigError(f"text.prompt leaves a text none of the {limit} tokens that are read; raise text.max_length")
    return room


def cut(texts: list[str], places: Sequence[Sequence[tuple[int, int]]], room: int) -> list[str]:
    """Each text up to the end of its token number `room`, given where the tokens of each begin and end."""
    return [text if len(at) <= room else text[: at[room - 1][1]] for text, at in zip(texts, places, strict=True)]
