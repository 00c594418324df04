"""The configuration: one typed model, presets, files and overrides."""

from plait.config.build import configure, presets
from plait.config.sections import (
    AngleConfig,
    AngleForm,
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
    StaticConfig,
    TextConfig,
    TextTrainConfig,
    TowersConfig,
    TrainConfig,
)

__all__ = [
    "AngleConfig",
    "AngleForm",
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
    "StaticConfig",
    "TextConfig",
    "TextTrainConfig",
    "TowersConfig",
    "TrainConfig",
    "configure",
    "presets",
]
