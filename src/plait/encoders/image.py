"""Image encoders: any timm model, with its own preprocessing; ``lite0`` to ``lite2`` out of installed packages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait.config import CropMode, ImageConfig, Precision
from plait.encoders.base import ImageEncoder, Modality, computing, in_bf16, quiet
from plait.encoders.efficientnet import EfficientNet
from plait.encoders.efficientnet_encoder import EfficientNetEncoder, identity
from plait.encoders.efficientnet_graph import graph_of
from plait.encoders.folding import alike, folded
from plait.encoders.joined import JoinedImageEncoder
from plait.encoders.lite import LITES, fill, kept_weights
from plait.encoders.onnx import Graph
from plait.encoders.pixels import KEYS, Preprocessing, normalise
from plait.encoders.remembered import REMEMBERED, remembered
from plait.errors import EncoderError, did_you_mean, setting
from plait.hub import reached

LOCAL = "local-dir:"
WHOLE: CropMode = "squash"  # what is done with pictures that are not square, unless something else is asked for
KEEPING = (LOCAL, "hf-hub:")  # names of folders, which keep their preprocessing


def folder_of(name: str) -> Path:
    """The folder that an encoder's name gives, a text encoder's too; of names that give none, one that is not there."""
    return Path(name.removeprefix(LOCAL))


class TimmEncoder:
    """A timm model without its classifier.

    Args:
        model: any timm model; its classifier is removed.
        settings: timm's data config, see `Preprocessing`.
        precision: ``auto`` is bf16 where the device multiplies that faster.
    """

    modality: Modality = "image"

    def __init__(
        self, model: torch.nn.Module, settings: dict[str, Any], name: str, device: torch.device | str = "cpu",
        precision: Precision = "32",
    ):  # fmt: skip
        model.reset_classifier(0)  # type: ignore[operator]
        self.device = torch.device(device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self.settings = {key: settings[key] for key in KEYS}
        self.name = name
        self.precision = precision
        self.dim = int(model.num_features)  # type: ignore[arg-type]
        if hasattr(model, "head_hidden_size"):
            self.dim = int(model.head_hidden_size)  # type: ignore[arg-type]
        self.preprocess = Preprocessing(self.settings)
        self._bf16 = in_bf16(precision, self.device)
        self.fingerprint = identity(self.settings, self.architecture, self._bf16, model.state_dict())

    @property
    def architecture(self) -> str:
        return str(self.model.pretrained_cfg["architecture"])  # type: ignore[index]

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return int(self.settings["input_size"][-1])

    @property
    def parameters(self) -> int:
        """How many the network has."""
        return sum(one.numel() for one in self.model.parameters())

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) uint8 -> (B, dim) float32."""
        if self._graph is not None:
            return self._graph({"pixels": pixels})
        inputs = normalise(torch.from_numpy(pixels).to(self.device), self.settings)
        with torch.inference_mode(), computing(self._bf16, self.device):
            features: np.ndarray = self.folded(inputs).float().cpu().numpy()
        return features

    @cached_property
    def _graph(self) -> Graph | None:
        """An EfficientNet's, on a processor, in 32 bits."""
        network = None if self.device.type != "cpu" or self._bf16 else EfficientNet.of(self.model)
        graph = None if network is None else graph_of(network, self.settings)
        return graph if graph is not None and self._is_like(graph) else None

    def _is_like(self, graph: Graph) -> bool:
        """Whether it answers as the network does."""
        draws = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (2, *self.settings["input_size"]), generator=draws, dtype=torch.uint8)
        with torch.inference_mode():
            wanted = self.model(normalise(pixels, self.settings))
        return alike(wanted, torch.from_numpy(graph({"pixels": pixels.numpy()})))

    @cached_property
    def folded(self) -> torch.nn.Module:
        """The network with its norms folded in."""
        example = torch.rand(2, *self.settings["input_size"], generator=torch.Generator().manual_seed(0))
        return folded(self.model, example.to(self.device, memory_format=torch.channels_last))

    def save(self, folder: Path) -> dict[str, Any]:
        """Write a timm ``local-dir:`` folder (config.json, model.safetensors)."""
        save_timm(self.model, self.settings, folder)
        return {"kind": "timm", "name": self.name, "precision": self.precision}

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any], device: torch.device | str = "cpu") -> ImageEncoder:
        """Read what `save` wrote: an EfficientNet without the library that trains it, anything else whole."""
        whole = partial(cls.open, folder, settings, device)
        quick = EfficientNetEncoder.read(folder, settings, whole) if torch.device(device).type == "cpu" else None
        return quick or whole()

    @classmethod
    def open(cls, folder: Path, settings: dict[str, Any], device: torch.device | str = "cpu") -> TimmEncoder:
        """The whole model. Raises EncoderError where weights and architecture do not fit."""
        model = create_model(f"{LOCAL}{folder}", pretrained=True)
        return cls(model, data_config(model), settings["name"], device, settings.get("precision", "32"))


def data_config(model: torch.nn.Module, size: int | None = None, crop_mode: CropMode | None = None) -> dict[str, Any]:
    """timm's preprocessing of a model, at another side in pixels or with another `crop_mode` if asked."""
    from timm.data.config import resolve_model_data_config

    settings: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    if size:
        settings["input_size"] = (3, size, size)
        settings["crop_pct"] = 1.0
    settings["crop_mode"] = crop_mode or settings["crop_mode"]
    return {key: settings[key] for key in KEYS}


def crop_mode(config: ImageConfig) -> CropMode | None:
    """What becomes of pictures that are not square; None: what the model's folder says.

    Networks are trained on random crops of any aspect ratio, so that one more costs less than a part of the picture.
    """
    return config.crop_mode or (None if config.model.startswith(KEEPING) else WHOLE)


def own_size(name: str) -> int | None:
    """The side in pixels that a model of timm's was trained with; None where it takes no other, or is not timm's.

    Raises:
        EncoderError: an unknown name.
    """
    if name.startswith(KEEPING):
        return None
    if name in LITES:
        return LITES[name].side  # known without timm, which takes seconds to import
    import timm

    import plait.encoders.blocks  # noqa: F401 - timm then knows the networks that a search finds

    _check_name(name)
    known = timm.get_pretrained_cfg(name)
    return None if known is None or known.fixed_input_size else int(known.input_size[-1])


def save_timm(model: torch.nn.Module, settings: dict[str, Any], folder: Path, labels: list[str] | None = None) -> None:
    """Write a model and its preprocessing as a timm ``local-dir:`` folder with safetensors weights.

    Args:
        labels: names of the classes of its classifier, where it has one.
    """
    from timm.models import save_for_hf

    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    model.to(memory_format=torch.contiguous_format)  # safetensors stores no other layout
    config = {"pretrained_cfg": plain, **({"label_names": labels} if labels else {})}
    # Older versions of timm do not remember what a network was built from.
    save_for_hf(
        model, str(folder), model_config=config, model_args=getattr(model, "network", None), safe_serialization=True
    )
    model.to(memory_format=torch.channels_last)


def kept_image_encoder(members: Sequence[ImageConfig], device: torch.device | str, store: Path | None) -> ImageEncoder:
    """`load_image_encoder` of each, side by side, or what is remembered of it below a folder; None: it is opened now.

    Args:
        members: one or more, each with the one name.
    """
    found = [_kept(one, device, store) for one in members]
    return found[0] if len(found) == 1 else JoinedImageEncoder(found)


def _kept(config: ImageConfig, device: torch.device | str, store: Path | None) -> ImageEncoder:
    if store is None:
        return load_image_encoder(config, device)
    known = {"name": config.model, "modality": "image", "size": config.size, "crop_mode": crop_mode(config)}
    known["bf16"] = in_bf16(config.precision, torch.device(device))
    weights = folder_of(config.model) if config.model.startswith(LOCAL) else None
    if config.model in LITES:
        weights = kept_weights(config.model)
    found: ImageEncoder = remembered(store / REMEMBERED, weights, known, lambda: load_image_encoder(config, device))
    return found


def load_image_encoder(config: ImageConfig, device: torch.device | str = "cpu") -> TimmEncoder:
    """Build a pretrained image encoder.

    Raises:
        EncoderError: unknown name (with the closest spelling), weights that cannot be had, or a size they cannot take.
    """
    model = create_model(config.model, pretrained=True)
    settings = data_config(model, config.size, crop_mode(config))
    if config.size:
        own = data_config(model)["input_size"][-1]
        require_size(model, config.size, config.model, f"leave image.size away, or set it to {own} as in its training")
    return TimmEncoder(model, settings, config.model, device, config.precision)


def require_size(model: torch.nn.Module, size: int, name: str, remedy: str) -> None:
    """Raise EncoderError where a model cannot take pictures of that side in pixels."""
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise EncoderError(f"{size} px does not suit '{name}' ({reason}); {remedy}") from None


def create_model(name: str, pretrained: bool, **arguments: Any) -> torch.nn.Module:
    """`timm.create_model`, with each failure as one clear EncoderError; ``lite0`` prefers the installed package."""
    import plait.encoders.blocks  # noqa: F401 - timm then knows the networks that a search finds

    if name not in LITES:
        _check_name(name)
        return _created(name, name, pretrained, "", arguments)
    architecture = LITES[name].architecture
    model = _created(name, architecture, False, "", arguments)
    if not pretrained or fill(model, name):
        return model
    return _created(name, architecture, True, "pip install 'plait[offline]', ", arguments)


def _created(name: str, architecture: str, pretrained: bool, first: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """timm's model; `name` is what the user calls it, `first` what is to be done before anything else without it."""
    import timm

    remedy = f"{first}check the network, give a folder ({setting('image.model=local-dir:FOLDER')}), or train from "
    remedy += f"scratch ({setting('image.pretrained=false')})"
    if pretrained and not name.startswith(KEEPING) and not _has_weights(architecture):
        raise EncoderError(f"image.model '{name}' has no pretrained weights in timm; {remedy}")
    with reached(needed=pretrained and not name.startswith(LOCAL)), quiet():
        try:
            return timm.create_model(architecture, pretrained=pretrained, **arguments)
        except Exception as error:  # hub, file and shape errors of three libraries
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if name.startswith(LOCAL) or not pretrained:
                raise EncoderError(f"image.model '{name}' cannot be loaded: {reason}") from error
            reason = reason.split(". ")[0]
            raise EncoderError(
                f"image.model '{name}': its pretrained weights cannot be had ({reason}); {remedy}"
            ) from None


def _check_name(name: str) -> None:
    """Refuse folders that are no timm folder and names timm does not know."""
    import timm

    if name.startswith(LOCAL):
        config = folder_of(name) / "config.json"
        if not config.is_file():
            raise EncoderError(f"image.model '{name}': no config.json in that folder; give a timm local-dir folder")
        try:
            json.loads(config.read_text("utf-8"))
        except ValueError as error:
            raise EncoderError(f"image.model '{name}': config.json is not JSON ({error})") from None
    elif not name.startswith("hf-hub:"):
        architecture = name.partition(".")[0]
        if not timm.is_model(architecture):
            known = [*LITES, *timm.list_models()]
            hint = did_you_mean(architecture, known) if _is_close(architecture, known) else " See timm.list_models()."
            raise EncoderError(f"image.model '{name}': timm has no model '{architecture}'.{hint}")


def _is_close(word: str, known: list[str]) -> bool:
    import difflib

    return bool(difflib.get_close_matches(word, known, n=1, cutoff=0.6))


def _has_weights(name: str) -> bool:
    import timm

    return bool(timm.is_model_pretrained(name))
