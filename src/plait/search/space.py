"""The networks to choose from: stages of MBConv and Fused-MBConv, as block strings of timm's EfficientNet builder.

After Tan & Le 2021 (arXiv:2104.00298, section 3.2): each stage chooses its convolution, kernel, expansion and layers.
Operations that skip pooling are left out, and channel sizes are shared: one width for all stages, each a table of
channels that a known network has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plait.encoders.image import LOCAL, create_model, folder_of
from plait.errors import ConfigError, DataError, setting
from plait.files import read_json
from plait.search.reward import called

if TYPE_CHECKING:
    from torch import nn

Choice = str | int
Choices = Mapping[str, Choice]

STRIDES = (1, 2, 2, 2, 1, 2)  # of the stages; the stem halves the picture, too
REDUCTION = 32  # pixels of the input for one of the last map
GRID = 16
SIZES = (0.5, 0.75, 1.0)  # of the largest input
SQUEEZE = 0.25  # of MBConv's squeeze-and-excitation; Fused-MBConv has none


@dataclass(frozen=True)
class Width:
    """Channels of the stem, of each stage, and in front of the classifier."""

    stem: int
    stages: tuple[int, ...]
    features: int


# EfficientNetV2-B0 and S as they were published, a half and a quarter of the former.
WIDTHS = {
    "b0/4": Width(8, (8, 8, 16, 24, 32, 48), 320),
    "b0/2": Width(16, (8, 16, 24, 48, 56, 96), 640),
    "b0": Width(32, (16, 32, 48, 96, 112, 192), 1280),
    "s": Width(24, (24, 48, 64, 128, 160, 256), 1280),
}
LAYERS = ((1, 2), (1, 2, 4), (1, 2, 4), (1, 2, 3, 6), (1, 2, 5, 9), (1, 2, 4, 8, 15))
OPS, KERNELS, EXPANSIONS = ("mbconv", "fused"), (3, 5), (1, 4, 6)

_V2 = tuple(zip(("fused",) * 3 + ("mbconv",) * 3, (1, 4, 4, 4, 6, 6), strict=True))  # both have these
KNOWN = {
    "tf_efficientnetv2_b0": ("b0", (1, 2, 2, 3, 5, 8)),
    "tf_efficientnetv2_s": ("s", (2, 4, 4, 6, 9, 15)),
}


@dataclass(frozen=True)
class Network:
    """One network of the space.

    Attributes:
        choices: what was chosen, by name.
        size: side of the input in pixels.
        blocks: timm's block string for each stage.
        stem, features: channels of the first and the last convolution.
    """

    choices: dict[str, Choice]
    size: int
    blocks: tuple[str, ...]
    stem: int
    features: int

    @property
    def arguments(self) -> dict[str, Any]:
        """What `plait.encoders.blocks.plait_efficientnet` is built from."""
        return {"blocks": list(self.blocks), "stem": self.stem, "features": self.features}

    @property
    def words(self) -> str:
        """What tells it from others at a glance."""
        return f"{self.size} px and width {self.choices['width']}"

    def build(self, classes: int, **arguments: Any) -> nn.Module:
        """The network with random weights and a classifier of so many classes."""
        return create_model("plait_efficientnet", False, num_classes=classes, **self.arguments, **arguments)


@dataclass(frozen=True)
class Space:
    """What may be chosen; every attribute with several values is a choice.

    Attributes:
        sizes: sides of the input in pixels, ascending, each at least `REDUCTION`.
        widths: tables of channels, by name.
        layers: numbers of layers of each stage.
    """

    sizes: tuple[int, ...]
    widths: Mapping[str, Width] = field(default_factory=lambda: WIDTHS)
    layers: tuple[tuple[int, ...], ...] = LAYERS
    ops: tuple[str, ...] = OPS
    kernels: tuple[int, ...] = KERNELS
    expansions: tuple[int, ...] = EXPANSIONS

    @property
    def choices(self) -> dict[str, tuple[Choice, ...]]:
        """Every choice by name, with its values."""
        found: dict[str, tuple[Choice, ...]] = {"size": self.sizes, "width": tuple(self.widths)}
        for stage, layers in enumerate(self.layers, 1):
            found[f"stage{stage}.op"] = self.ops
            found[f"stage{stage}.kernel"] = self.kernels
            found[f"stage{stage}.expansion"] = self.expansions
            found[f"stage{stage}.layers"] = layers
        return found

    def network(self, choices: Choices) -> Network:
        """The network of some choices. Raises ConfigError for a choice that the space has not."""
        for name, values in self.choices.items():
            if choices.get(name) not in values:
                raise ConfigError(f"the space has no {name} {choices.get(name)}; it has {', '.join(map(str, values))}")
        width = self.widths[str(choices["width"])]
        blocks = tuple(_block(choices, stage, width.stages[stage - 1]) for stage in range(1, len(self.layers) + 1))
        kept = {name: choices[name] for name in self.choices}
        return Network(kept, int(choices["size"]), blocks, width.stem, width.features)

    def known(self, name: str) -> Network | None:
        """The point that a published network is, at the largest input; None where it is none."""
        if (found := KNOWN.get(name.partition(".")[0])) is None:
            return None
        width, layers = found
        choices: dict[str, Choice] = {"size": self.sizes[-1], "width": width}
        for stage, ((op, expansion), count) in enumerate(zip(_V2, layers, strict=True), 1):
            values: dict[str, Choice] = {"op": op, "kernel": 3, "expansion": expansion, "layers": count}
            choices |= {f"stage{stage}.{what}": value for what, value in values.items()}
        return self._point(choices)

    def found(self, arguments: Mapping[str, Any], size: int) -> Network | None:
        """The point that has these blocks, stem and features (see `Network.arguments`); None where none has.

        Where `size` is none of the space's, the largest input is taken.
        """
        choices: dict[str, Choice] = {"size": size if size in self.sizes else self.sizes[-1]}
        for stage, block in enumerate(arguments["blocks"], 1):
            choices |= {f"stage{stage}.{what}": value for what, value in _parsed(block).items()}
        for name in self.widths:
            point = self._point(choices | {"width": name})
            if point is not None and point.arguments == dict(arguments):
                return point
        return None

    @property
    def smallest(self) -> Network:
        """The first of everything that has an order, depthwise convolutions: what costs least."""
        choices = {name: values[0] for name, values in self.choices.items()}
        return self.network(choices)

    def _point(self, choices: Choices) -> Network | None:
        try:
            return self.network(choices)
        except ConfigError:
            return None


def _block(choices: Choices, stage: int, channels: int) -> str:
    """timm's string of a stage. An expansion of 1 has no expanding convolution, as in EfficientNet and in V2's code."""
    op, kernel, expansion, layers = (
        choices[f"stage{stage}.{name}"] for name in ("op", "kernel", "expansion", "layers")
    )
    kind = {("fused", True): "cn", ("fused", False): "er", ("mbconv", True): "ds", ("mbconv", False): "ir"}
    name = kind[str(op), expansion == 1]
    tail = {"cn": "_skip", "er": ""}.get(name, f"_se{SQUEEZE}")
    return f"{name}_r{layers}_k{kernel}_s{STRIDES[stage - 1]}_e{expansion}_c{channels}{tail}"


def _parsed(block: str) -> dict[str, Choice]:
    """What `_block` made a string of, but for the channels."""
    name, *parts = block.split("_")
    number = {part[0]: int(part[1:]) for part in parts if part[1:].isdigit()}
    op = "fused" if name in ("cn", "er") else "mbconv"
    return {"op": op, "kernel": number["k"], "expansion": number["e"], "layers": number["r"]}


def sizes_for(largest: int, source: str = "") -> tuple[int, ...]:
    """Sides to choose from, up to the largest, in multiples of `GRID`.

    Raises:
        DataError: pictures too small for the stages.
    """
    if largest < REDUCTION:
        raise DataError(
            f"{source}{': ' if source else ''}pictures of {largest} px are too small for the stages, which halve them "
            f"five times; give pictures of at least {REDUCTION} px, or enlarge them by "
            f"{setting(f'image.size={REDUCTION}')}"
        )
    rounded = {max(REDUCTION, GRID * round(share * largest / GRID)) for share in SIZES[:-1]}
    return tuple(sorted({size for size in rounded if size < largest} | {largest}))


def starting_point(space: Space, name: str) -> Network:
    """The point that a network's name means: a published one, or the folder of one that a search has found.

    Raises:
        ConfigError: the space has no such point.
    """
    point = space.known(name)
    if point is None and name.startswith(LOCAL):
        try:
            config = read_json(folder_of(name) / "config.json")
            arguments = {key: config["model_args"][key] for key in ("blocks", "stem", "features")}
            point = space.found(arguments, config["pretrained_cfg"]["input_size"][-1])
        except (KeyError, TypeError, ValueError):
            point = None
    if point is None:
        raise ConfigError(
            f"{called('warm_start')} '{name}' is no point of the space; give one of {', '.join(KNOWN)}, or "
            "local-dir:FOLDER of a network that a search has found"
        )
    return point
