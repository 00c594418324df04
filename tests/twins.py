"""Tiny GIT and BLIP with random weights, as folders that transformers opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = "a an of on in red green blue yellow plate bowl cup shirt shoe bag small large round"
SIDE, WIDTH = 32, 32
SMALL = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def make_captioner_folder(kind: str, folder: Path) -> Path:
    """Write a tiny ``git`` or ``blip``; its tokenizer knows `WORDS`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(folder)
    torch.manual_seed(0)
    if kind == "git":
        model, processor = _git(tokenizer)
    else:
        model, processor = _blip(tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]))
    return BertTokenizerFast(vocab=str(vocabulary), do_lower_case=True)


def _images(mean: Any = (0.5, 0.5, 0.5)) -> dict[str, Any]:
    return {"size": {"height": SIDE, "width": SIDE}, "do_resize": True, "image_mean": mean, "image_std": mean}


def _git(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    images = CLIPImageProcessor(crop_size={"height": SIDE, "width": SIDE}, **_images())
    config = GitConfig(
        vision_config={**SMALL, "image_size": SIDE, "patch_size": 8}, vocab_size=len(tokenizer), **SMALL,
        max_position_embeddings=64, bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return GitForCausalLM(config), GitProcessor(images, tokenizer)


def _blip(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    text = {
        **SMALL, "vocab_size": len(tokenizer), "encoder_hidden_size": WIDTH, "projection_dim": WIDTH,
        "max_position_embeddings": 64, "bos_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {**SMALL, "image_size": SIDE, "patch_size": 8, "projection_dim": WIDTH}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
    return BlipForConditionalGeneration(config), BlipProcessor(BlipImageProcessor(**_images()), tokenizer)
