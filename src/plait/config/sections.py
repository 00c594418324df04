"""The whole configuration, and its section about data; other sections are in ``encoders`` and ``heads``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plait.config.base import Fraction, PositiveFloat, Section
from plait.config.encoders import ImageConfig, TextConfig
from plait.config.heads import HeadConfig, JointConfig, SpaceConfig, TrainConfig
from plait.config.tools import CaptionConfig

ModelChoice = Literal["auto", "image", "text", "late", "early"]


class DataConfig(Section):
    """Which columns hold what (null: guess from the usual names; none: there is none), and how rows are split."""

    id: str | None = None
    image: str | None = None
    text: str | None = None
    label: str | None = None
    root: str | None = Field(None, description="folder that relative image paths start from; null: the table's own")
    strict: bool = Field(False, description="an unreadable image is an error instead of a missing one")
    group: str = Field(
        "pair",
        description="rows that share it stay on one side of every split: pair, text, image, text+image, or a column",
    )
    val_fraction: Fraction = 0.1
    test_fraction: float = Field(0.2, ge=0, lt=1, description="0: none, every row trains")


class Config(Section):
    """Everything that decides what a fit does; the same config, data and seed give the same model."""

    model: ModelChoice = Field("auto", description="what `fit` keeps; auto: the best on validation rows")
    max_ms: PositiveFloat | None = Field(
        None, description="milliseconds that `fit` lets the answer to one row take on this machine; null: any"
    )
    max_mb: PositiveFloat | None = Field(None, description="megabytes that `fit` lets a model have on disk; null: any")
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    store: str | None = Field(None, description="folder of the feature store; null: the user's cache")
    memory_mb: PositiveFloat = Field(
        4096, description="megabytes that features may take while heads train; more stay on disk, in the store's folder"
    )
    data: DataConfig = DataConfig()
    image: ImageConfig = ImageConfig()
    text: TextConfig = TextConfig()
    head: HeadConfig = HeadConfig()
    train: TrainConfig = TrainConfig()
    joint: JointConfig = JointConfig()
    space: SpaceConfig = SpaceConfig()
    caption: CaptionConfig = CaptionConfig()
