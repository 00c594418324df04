"""Weights of a trained network for a new one: block by block, where shapes are equal."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from plait.search.measure import params_of

if TYPE_CHECKING:
    from torch import Tensor, nn

# Parts that are taken whole or not at all: stem, blocks by stage and place, and the convolution before the classifier.
PART = re.compile(r"^(?:(?P<block>blocks\.\d+\.\d+)\.|(?P<stem>conv_stem|bn1)\.|(?P<head>conv_head|bn2)\.)")


def inherit(model: nn.Module, source: nn.Module) -> float:
    """Copy into a network each part that a trained one has at the same place in the same shape.

    A part keeps its convolutions, batch norms and their statistics together. The classifier is never copied.

    Returns:
        The share of the network's parameters that came from the source.
    """
    own, given = _parts(model), _parts(source)
    taken: dict[str, Tensor] = {}
    for name, part in own.items():
        found = given.get(name, {})
        if {key: value.shape for key, value in part.items()} == {key: value.shape for key, value in found.items()}:
            taken |= found
    model.load_state_dict(taken, strict=False)
    parameters = dict(model.named_parameters())
    return sum(parameters[key].numel() for key in taken if key in parameters) / params_of(model)


def _parts(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in model.state_dict().items():
        if match := PART.match(key):
            parts[match["block"] or ("stem" if match["stem"] else "head")][key] = value
    return parts
