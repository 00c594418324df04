"""The sections about what stands beside a classifier: captions."""

from __future__ import annotations

from pydantic import Field

from plait.config.base import PositiveFloat, PositiveInt, Probability, Section


class CaptionConfig(Section):
    """What writes texts for images: ``decoder``, or a GIT or BLIP of transformers."""

    model: str = Field(
        "decoder",
        description="decoder: a small transformer, trained from scratch on the features of image.model; or the name or "
        "folder of a GIT or BLIP, such as microsoft/git-base",
    )
    lora: int = Field(0, ge=0, description="rank of low-rank adapters (PEFT) of a GIT or BLIP; 0: tune all of it")
    epochs: PositiveInt | None = Field(None, description="at most; null: 24 of a decoder, 8 of a GIT or BLIP")
    patience: PositiveInt = Field(3, description="epochs without a better CIDEr on validation rows before stopping")
    batch: PositiveInt = 64
    lr: PositiveFloat | None = Field(
        None, description="null: 1e-3 of a decoder, 1e-5 of a GIT or BLIP (GIT collapses at higher ones), 1e-4 by LoRA"
    )
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: Probability = 0.1
    max_tokens: PositiveInt = Field(32, description="of a caption, at most")
    check_rows: PositiveInt = Field(1000, description="validation rows that are captioned after each epoch, at most")
    vocabulary: PositiveInt = Field(4000, description="tokens of a decoder, learnt from the training texts")
    width: PositiveInt = Field(192, description="of a decoder, a multiple of 64")
    layers: PositiveInt = Field(2, description="of a decoder")
    dropout: Probability = Field(0.2, description="of a decoder")
