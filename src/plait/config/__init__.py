"""The configuration: one typed model, presets, files and overrides."""

from plait.config.build import configure, presets
from plait.config.sections import (
    Config,
    DataConfig,
    HeadConfig,
    HuseConfig,
    ImageConfig,
    ImageTrainConfig,
    JointConfig,
    Layers,
    Precision,
    Stage,
    TextConfig,
    TextTrainConfig,
    TowersConfig,
    TrainConfig,
)

__all__ = [
    "Config",
    "DataConfig",
    "HeadConfig",
    "HuseConfig",
    "ImageConfig",
    "ImageTrainConfig",
    "JointConfig",
    "Layers",
    "Precision",
    "Stage",
    "TextConfig",
    "TextTrainConfig",
    "TowersConfig",
    "TrainConfig",
    "configure",
    "presets",
]
