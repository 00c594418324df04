"""EfficientNets run directly: what most runs look at pictures with, without the library that trains it.

EfficientNet-Lite, EfficientNetV2 (Tan & Le 2021, arXiv:2104.00298) and what a search finds: stages of convolutions,
MBConv and Fused-MBConv, squeeze-and-excitation, padded as TensorFlow does it. What a block is, its weights tell;
strides and activation, the name of the network. Batch norms are folded into the convolutions before them. Answers are
those of timm but for rounding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

FOUND = "plait_efficientnet"  # a network of any stages, see `plait.encoders.blocks`
LITE = re.compile(r"tf_efficientnet_lite[0-4]")
V2 = re.compile(r"tf_efficientnetv2_(b[0-3]|s|m|l)")
BLOCK = re.compile(r"(?:cn_r\d+_k\d_s(?=\d_e1_c\d+_skip$)|(?:er|ds|ir)_r\d+_k\d_s)(\d)_e\d_c\d+(?:_skip|_se[\d.]+)?")
EPSILON = 1e-3  # of their batch norms
# A block's convolutions in their order, each with the norm that follows it; the last one adds to what came in.
KINDS = {
    "conv": ("conv",),
    "conv_exp": ("conv_exp", "conv_pwl"),
    "conv_pwl": ("conv_pw", "conv_dw", "conv_pwl"),
    "conv_dw": ("conv_dw", "conv_pw"),
}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
ARGUMENTS = {"in_chans": 3, "num_classes": 0, "global_pool": "avg"}  # what else a network may be built with


@dataclass(frozen=True)
class Form:
    """What a network's weights do not tell.

    Attributes:
        strides: of each stage's first block. capped: whether activations end at 6 (ReLU6), or are SiLU.
    """

    strides: tuple[int, ...]
    capped: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Form | None:
        """That of a timm ``config.json``; None where it is another network, or built in another way."""
        name, arguments = str(config.get("architecture")), dict(config.get("model_args") or {})
        blocks, *_ = (arguments.pop(key, None) for key in ("blocks", "stem", "features"))
        if any(key not in ARGUMENTS or value != ARGUMENTS[key] for key, value in arguments.items()):
            return None
        if LITE.fullmatch(name):
            return cls((1, 2, 2, 2, 1, 2, 1), capped=True)
        if V2.fullmatch(name):
            return cls((1, 2, 2, 2, 1, 2) + ((1,) if name[-1] in "ml" else ()), capped=False)
        found = [BLOCK.fullmatch(one) for one in blocks or ()] if name == FOUND else []
        return cls(tuple(int(one[1]) for one in found if one), capped=False) if found and all(found) else None

    def activated(self, given: Tensor) -> Tensor:
        """In place."""
        return F.relu6(given, inplace=True) if self.capped else F.silu(given, inplace=True)


@dataclass(frozen=True)
class Convolution:
    """With its norm folded in."""

    weight: Tensor
    bias: Tensor
    stride: int = 1

    def __call__(self, given: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, ⌈H / stride⌉, ⌈W / stride⌉)."""
        kernel, groups = self.weight.shape[-1], given.shape[1] // self.weight.shape[1]
        if self.stride == 1:
            return F.conv2d(given, self.weight, self.bias, padding=kernel // 2, groups=groups)
        down, right = (max(((side - 1) // self.stride) * self.stride + kernel - side, 0) for side in given.shape[-2:])
        given = F.pad(given, (right // 2, right - right // 2, down // 2, down - down // 2))
        return F.conv2d(given, self.weight, self.bias, self.stride, groups=groups)


@dataclass(frozen=True)
class Block:
    """One block of a stage.

    Attributes:
        squeezed: which convolution squeeze-and-excitation follows: weights and biases of its two; None: none has it.
        is_linear: whether the last convolution has no activation. adds: whether what comes in is added at the end.
    """

    convolutions: tuple[Convolution, ...]
    squeezed: tuple[Tensor, Tensor, Tensor, Tensor] | None
    is_linear: bool
    adds: bool

    def __call__(self, given: Tensor, form: Form) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        found, last = given, len(self.convolutions) - 1
        for i, convolution in enumerate(self.convolutions):
            found = convolution(found)
            if i < last or not self.is_linear:
                found = form.activated(found)
            if i == last - 1 and self.squeezed is not None:
                reduce, reduced, expand, expanded = self.squeezed
                gate = form.activated(F.conv2d(found.mean((2, 3), keepdim=True), reduce, reduced))
                found = found * F.conv2d(gate, expand, expanded).sigmoid()
        return found + given if self.adds else found


class EfficientNet:
    """A network without its classifier.

    Args:
        weights: by timm's names, those of a classifier left out.

    Raises:
        KeyError: a weight is missing. ValueError: one has no place in the network.
    """

    def __init__(self, form: Form, weights: Mapping[str, Tensor]):
        self.form = form
        parts = Parts(weights)
        self.stem, self.head = parts.convolution("conv_stem", "bn1", 2), parts.convolution("conv_head", "bn2", 1)
        self.blocks = [
            parts.block(name, stride)
            for i, stage_stride in enumerate(form.strides)
            for name, stride in parts.stage(i, stage_stride)
        ]
        if unused := set(weights) - parts.taken:
            raise ValueError(f"no place for {sorted(unused)[0]}")
        self.dim = int(self.head.bias.numel())

    @classmethod
    def of(cls, model: nn.Module) -> EfficientNet | None:
        """A timm model without its classifier; None where it is no EfficientNet of a known form."""
        architecture = str(model.pretrained_cfg["architecture"])  # type: ignore[index]
        form = Form.of({"architecture": architecture, "model_args": getattr(model, "network", None)})
        try:
            return None if form is None else cls(form, model.state_dict())
        except (KeyError, ValueError):  # it was built in another way than its name says
            return None

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> (B, dim)."""
        found = self.form.activated(self.stem(pixels))
        for block in self.blocks:
            found = block(found, self.form)
        return self.form.activated(self.head(found)).mean((2, 3))


@dataclass(frozen=True)
class Parts:
    """Makes blocks of weights.

    Attributes:
        taken: names of the weights that have found their place.
    """

    weights: Mapping[str, Tensor]
    taken: set[str] = field(default_factory=set)

    def stage(self, number: int, stride: int) -> list[tuple[str, int]]:
        """Name and stride of each of its blocks."""
        own = f"blocks.{number}."
        blocks = sorted({int(name.split(".")[2]) for name in self.weights if name.startswith(own)})
        return [(f"{own}{block}.", 1 if block else stride) for block in blocks]

    def block(self, name: str, stride: int) -> Block:
        """One block."""
        kind = next((kind for kind in KINDS if f"{name}{kind}.weight" in self.weights), "conv")
        parts = KINDS[kind]
        # The stride is that of the convolution that sees more than one pixel.
        wide = max(range(len(parts)), key=lambda i: self.weights[f"{name}{parts[i]}.weight"].shape[-1])
        convolutions = tuple(
            self.convolution(f"{name}{part}", f"{name}bn{i + 1}", stride if i == wide else 1)
            for i, part in enumerate(parts)
        )
        channels = self.weights[f"{name}{parts[0]}.weight"].shape[0 if kind == "conv_dw" else 1]
        adds = stride == 1 and channels == convolutions[-1].bias.numel()
        return Block(convolutions, self._squeezed(f"{name}se."), is_linear=kind != "conv", adds=adds)

    def convolution(self, name: str, norm: str, stride: int) -> Convolution:
        """A convolution with the norm that follows it."""
        mean, variance, scale, shift = (
            self._take(f"{norm}.{part}") for part in ("running_mean", "running_var", "weight", "bias")
        )
        self._take(f"{norm}.num_batches_tracked")
        weight, bias = fuse_conv_bn_weights(self._take(f"{name}.weight"), None, mean, variance, EPSILON, scale, shift)
        return Convolution(weight.detach().contiguous(memory_format=torch.channels_last), bias.detach(), stride)

    def _squeezed(self, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        if f"{name}conv_reduce.weight" not in self.weights:
            return None
        reduce, expand = (
            (self._take(f"{name}conv_{part}.weight"), self._take(f"{name}conv_{part}.bias"))
            for part in ("reduce", "expand")
        )
        return (*reduce, *expand)

    def _take(self, name: str) -> Tensor:
        self.taken.add(name)
        return self.weights[name]
