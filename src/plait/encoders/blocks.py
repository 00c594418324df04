"""EfficientNets of any stages, as a model that timm knows by name.

timm builds such a network from block strings, but has no name to give them to. A folder of one (``config.json`` with
``architecture: plait_efficientnet``) is a timm ``local-dir:`` folder wherever this module has been imported.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models._efficientnet_builder import BN_EPS_TF_DEFAULT, decode_arch_def, resolve_act_layer, resolve_bn_args
from timm.models._registry import generate_default_cfgs, register_model
from timm.models.efficientnet import _create_effnet
from torch import nn

ARCHITECTURE = "plait_efficientnet"
default_cfgs = generate_default_cfgs(
    {
        ARCHITECTURE: {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        }
    }
)


@register_model
def plait_efficientnet(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """An EfficientNet of given stages, padded and normalised as timm's ``tf_efficientnetv2_*`` are.

    Args:
        blocks: a block string for each stage, e.g. ``ir_r3_k3_s2_e4_c96_se0.25``.
        stem: channels of the first convolution.
        features: channels of the last one, in front of the classifier.
    """
    kwargs.setdefault("bn_eps", BN_EPS_TF_DEFAULT)
    kwargs.setdefault("pad_type", "same")
    blocks, stem, features = (kwargs.pop(name) for name in ("blocks", "stem", "features"))
    stages: Any = decode_arch_def([[block] for block in blocks])  # type: ignore[no-untyped-call]
    norm = partial(nn.BatchNorm2d, **resolve_bn_args(kwargs))  # type: ignore[no-untyped-call]
    activation: Any = resolve_act_layer(kwargs, "silu")  # type: ignore[no-untyped-call]
    model: Any = _create_effnet(  # type: ignore[no-untyped-call]
        ARCHITECTURE, pretrained, block_args=stages, stem_size=stem, num_features=features, norm_layer=norm,
        act_layer=activation, **kwargs,
    )  # fmt: skip
    model.network = {"blocks": list(blocks), "stem": stem, "features": features}
    return model  # type: ignore[no-any-return]
