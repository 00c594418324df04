"""Batch norms folded into the convolutions before them: the same function, computed in fewer passes over memory."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from plait.devices import in_32_bits

TOLERANCE = 1e-3  # of the largest output; what is off by more was not a convolution followed by its norm


def folded(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """A copy of a model in evaluation mode with its batch norms folded in.

    The model itself where the copy does not answer alike, because modules run in another order than they stand in.

    Args:
        example: a batch of inputs to compare both on.
    """
    found = copy.deepcopy(model)
    for module in found.modules():
        _fold_children(module)
    with torch.inference_mode(), in_32_bits(example.device):  # in half precision hardly any two would be alike
        try:
            wanted, got = model(example), found(example)
        except RuntimeError:  # a norm of other width than the convolution that stands before it
            return model
    return found.requires_grad_(False) if alike(wanted, got) else model


def alike(wanted: torch.Tensor, got: torch.Tensor) -> bool:
    """Whether two networks compute the same but for rounding."""
    return bool((wanted - got).abs().max() <= TOLERANCE * wanted.abs().max())


def _fold_children(module: nn.Module) -> None:
    for first, second in pairwise(list(module._modules)):
        conv, norm = module._modules[first], module._modules[second]
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            continue
        if norm.running_mean is None or norm.running_var is None or norm.num_features != conv.out_channels:
            continue
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        # timm's norms hold the activation that follows them.
        module._modules[second] = getattr(norm, "act", nn.Identity())
