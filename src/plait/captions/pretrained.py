"""GIT and BLIP of transformers as captioners."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plait.encoders.base import fingerprint, quiet
from plait.errors import ConfigError, EncoderError, setting
from plait.hub import reached

KINDS = ("git", "blip")  # model types of transformers
BATCH = 32  # images captioned at once
LORA_ALPHA = 2  # of adapters, by their rank
LAST = ("decoder", "output", "lm_head")  # layers tied to the words' embedding: merged, adapters would move both
IGNORED = -100  # label of a token that no loss is taken of


class PretrainedCaptioner:
    """A GIT or BLIP with its processor."""

    kind = "transformers"

    def __init__(self, model: Any, processor: Any, name: str, max_tokens: int = 32):
        self.model, self.processor, self.name, self.max_tokens = model.eval(), processor, name, max_tokens

    @property
    def fingerprint(self) -> str:
        """Equal for captioners that write the same of every image."""
        return fingerprint({"captioner": self.model.config.to_json_string()}, self.model.state_dict())

    def caption(self, images: Sequence[Any]) -> list[str]:
        """Captions of Pillow images, RGB: the most probable token, one after another."""
        found: list[str] = []
        for start in range(0, len(images), BATCH):
            with torch.inference_mode():
                tokens = self.model.generate(
                    pixel_values=self.pixels(images[start : start + BATCH]), max_new_tokens=self.max_tokens,
                    num_beams=1, do_sample=False,
                )  # fmt: skip
            found += [one.strip() for one in self.processor.batch_decode(tokens, skip_special_tokens=True)]
        return found

    def pixels(self, images: Sequence[Any]) -> Tensor:
        """(B, 3, H, W) of Pillow images, as the network takes them."""
        found: Tensor = self.processor.image_processor(images=list(images), return_tensors="pt").pixel_values
        return found.to(self.model.device)

    def loss(self, images: Sequence[Any], texts: Sequence[str]) -> Tensor:
        """Mean cross-entropy of the tokens of the texts, each given the image and the tokens before it."""
        tokens = self.processor.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.model.device)
        labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, IGNORED)
        found: Tensor = self.model(
            pixel_values=self.pixels(images), input_ids=tokens.input_ids, attention_mask=tokens.attention_mask,
            labels=labels,
        ).loss  # fmt: skip
        return found

    def adapt(self, rank: int) -> None:
        """Freeze the network and put low-rank adapters (Hu et al. 2021) on every linear layer but the last.

        Raises:
            ConfigError: PEFT is not installed.
        """
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError:
            raise ConfigError(f"caption.lora={rank} needs PEFT; pip install 'plait[captions]'") from None
        self.model = get_peft_model(
            self.model,
            LoraConfig(r=rank, lora_alpha=LORA_ALPHA * rank, target_modules="all-linear", exclude_modules=list(LAST)),
        )

    def merge(self) -> None:
        """Add adapters into the weights they stand beside, so that what is kept is a plain network."""
        if hasattr(self.model, "merge_and_unload"):
            self.model = self.model.merge_and_unload()

    def save(self, folder: Path) -> None:
        """Write a folder of transformers, weights as safetensors."""
        with quiet():
            self.model.save_pretrained(folder)
            self.processor.save_pretrained(folder)

    @classmethod
    def load(cls, name: str, max_tokens: int = 32, device: torch.device | str = "cpu") -> PretrainedCaptioner:
        """Open a GIT or BLIP by its name or folder.

        Raises:
            EncoderError: it cannot be had, or is of another kind.
        """
        from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

        local = Path(name).is_dir()
        with reached(needed=not local), quiet():
            try:
                kind = AutoConfig.from_pretrained(name, trust_remote_code=False).model_type
                if kind not in KINDS:
                    raise EncoderError(
                        f"caption.model '{name}' is a '{kind}'; give a GIT or BLIP (microsoft/git-base, "
                        "Salesforce/blip-image-captioning-base) or 'decoder'"
                    )
                model = AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=False, use_safetensors=True)
                processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)  # type: ignore[no-untyped-call]
            except EncoderError:
                raise
            except Exception as error:  # hub, file and shape errors of two libraries
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                raise EncoderError(
                    f"caption.model '{name}' cannot be had ({reason}); check the network, give a folder, or train a "
                    f"decoder: {setting('caption.model=decoder')}"
                ) from None
        network: Any = model
        return cls(network.to(device), processor, name, max_tokens)


def is_pretrained(folder: Path) -> bool:
    """Whether a folder holds a GIT or BLIP of transformers."""
    try:
        return json.loads((folder / "config.json").read_text("utf-8")).get("model_type") in KINDS
    except (OSError, ValueError, AttributeError):
        return False
