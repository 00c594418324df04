"""Local chat models of transformers: a name or a folder, nothing of which is executed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from plait.encoders.base import quiet
from plait.errors import EncoderError, option
from plait.hub import reached

LONGEST = 300  # new tokens of an answer, at most


class ChatModel:
    """A language model that was tuned to answer, with its chat template."""

    def __init__(self, model: Any, tokenizer: Any, name: str):
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name

    def answer(self, messages: Sequence[dict[str, str]], longest: int = LONGEST) -> str:
        """The most probable answer, one token after another."""
        prompt = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        tokens = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=False).to(self.model.device)
        with torch.inference_mode(), quiet():
            found = self.model.generate(
                **tokens, max_new_tokens=longest, do_sample=False, pad_token_id=self.tokenizer.pad_token_id
            )
        return str(self.tokenizer.decode(found[0, tokens.input_ids.shape[1] :], skip_special_tokens=True)).strip()


def load_chat(name: str, device: torch.device | str = "cpu") -> ChatModel:
    """Open a chat model by its name, such as ``Qwen/Qwen2.5-1.5B-Instruct``, or folder.

    Raises:
        EncoderError: it cannot be had, or has no chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    flag = option("--llm", "llm")
    with reached(needed=not Path(name).is_dir()), quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False, use_safetensors=True)
        except Exception as error:  # hub, file and shape errors of two libraries
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise EncoderError(
                f"{flag} '{name}' cannot be had ({reason}); check the network, give a folder, or leave it away"
            ) from None
    if not tokenizer.chat_template:
        raise EncoderError(f"{flag} '{name}' has no chat template: it was not tuned to answer; give an instruct model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return ChatModel(model.to(device), tokenizer, name)
