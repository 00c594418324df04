"""Which layers of an encoder are trained: those of timm's image models and of Hugging Face transformers alike."""

from __future__ import annotations

import re
from typing import Any, Literal

from torch import nn

from plait.config import Layers
from plait.errors import ConfigError

# Blocks by their usual names: encoder.layer.3. (BERT), layers.3. (LLaMA), h.3. (GPT-2), encoder.block.3. (T5).
BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?|albert_layer_groups)\.(\d+)\.")
# What transformers keep beside their blocks, but use from the first of them on.
EMBEDDING = re.compile(r"emb|relative_attention_bias")


def freeze(model: nn.Module, layers: Layers | Literal["upper"], name: str = "") -> int:
    """Choose the parameters that are trained, by setting ``requires_grad`` of every one.

    Layers of a timm model are those of its ``group_matcher``: stem, blocks, head. Of a transformer the embeddings are
    layer 0, block i is layer i + 1, and what is above the blocks (last norm, pooler) is the last.

    Args:
        layers: ``frozen``: none; ``all``: every one; ``upper``: the upper two thirds; N: those of layer N and above.
        name: of the model, for the error.

    Returns:
        The number of layers L; 1 where the model's layers cannot be told apart.

    Raises:
        ConfigError: N is not in 0 ... L - 1.
    """
    levels = _levels(model)
    last = max(levels.values(), default=0)
    if isinstance(layers, int) and not 0 <= layers <= last:
        what = "has layers 0" + (f" to {last}" if last else " only")
        raise ConfigError(f"layers {layers}: '{name}' {what}; give one of those, 'all' or 'frozen'")
    first = {"frozen": last + 1, "all": 0, "upper": (last + 1) // 3}[layers] if isinstance(layers, str) else layers
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(levels[key] >= first)
    return last + 1


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a transformer, in their order; none where they cannot be told apart."""
    named = ((f"{name}.", module) for name, module in model.named_modules())
    return [module for name, module in named if (found := BLOCK.search(name)) and found.end() == len(name)]


def train_mode(model: nn.Module) -> None:
    """Put a model in train mode, but for submodules whose parameters are all frozen: those go in evaluation mode.

    So frozen batch norms keep their statistics, and frozen layers have no dropout. A submodule without parameters goes
    with the one it is in.
    """
    parameters = list(model.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        model.eval()
        return
    model.training = True
    for child in model.children():
        train_mode(child)


def keep_statistics(model: nn.Module) -> None:
    """Let batch norms normalise by the statistics they came with.

    Those of batches differ from them where pictures are of another kind or, in early stages, of another size; running
    means would trail behind, and the network that is validated would not be the one that is trained.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _levels(model: nn.Module) -> dict[str, int]:
    """The layer of each parameter, counted from 0 without gaps."""
    matcher: Any = getattr(model, "group_matcher", None)
    if matcher is not None:
        from timm.models import group_parameters

        return dict(group_parameters(model, matcher(coarse=False), reverse=True))
    names = [name for name, _ in model.named_parameters()]
    blocks = {name: int(match[1]) + 1 for name in names if (match := BLOCK.search(name))}
    if not blocks:
        return dict.fromkeys(names, 0)
    first = next(i for i, name in enumerate(names) if name in blocks)
    top = max(blocks.values()) + 1
    return {name: blocks.get(name, 0 if i < first or EMBEDDING.search(name) else top) for i, name in enumerate(names)}
