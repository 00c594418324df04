"""The configuration: one typed model, presets, files and overrides."""

from plait.config.base import Layers, Precision
from plait.config.encoders import (
    TFIDF,
    AngleConfig,
    AngleForm,
    CropMode,
    ImageConfig,
    ImageTrainConfig,
    Stage,
    StaticConfig,
    TextConfig,
    TextTrainConfig,
)
from plait.config.heads import (
    EARLY_HEADS,
    HeadConfig,
    HuseConfig,
    JointConfig,
    SpaceConfig,
    TowersConfig,
    TrainConfig,
)
from plait.config.load import configure, presets, with_values
from plait.config.sections import Config, DataConfig
from plait.config.tools import CaptionConfig

__all__ = [
    "EARLY_HEADS",
    "TFIDF",
    "AngleConfig",
    "AngleForm",
    "CaptionConfig",
    "Config",
    "CropMode",
    "DataConfig",
    "HeadConfig",
    "HuseConfig",
    "ImageConfig",
    "ImageTrainConfig",
    "JointConfig",
    "Layers",
    "Precision",
    "SpaceConfig",
    "Stage",
    "StaticConfig",
    "TextConfig",
    "TextTrainConfig",
    "TowersConfig",
    "TrainConfig",
    "configure",
    "presets",
    "with_values",
]
