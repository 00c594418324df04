"""Image encoders: any timm model, with its own preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from plait.config import ImageConfig
from plait.encoders.base import Strand, fingerprint, quiet
from plait.errors import EncoderError, did_you_mean
from plait.hub import reached

if TYPE_CHECKING:
    from PIL.Image import Image

LOCAL = "local-dir:"
PREPROCESSING = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


class ImageEncoder:
    """A timm model without its classifier.

    Args:
        model: any timm model; its classifier is removed.
        settings: timm's data config: ``input_size, interpolation, mean, std, crop_pct, crop_mode``.
    """

    strand: Strand = "image"

    def __init__(self, model: torch.nn.Module, settings: dict[str, Any], name: str, device: torch.device | str = "cpu"):
        from timm.data.transforms_factory import create_transform

        model.reset_classifier(0)  # type: ignore[operator]
        self.device = torch.device(device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self.settings = {key: settings[key] for key in PREPROCESSING}
        self.name = name
        self.dim = int(model.num_features)  # type: ignore[arg-type]
        if hasattr(model, "head_hidden_size"):
            self.dim = int(model.head_hidden_size)  # type: ignore[arg-type]
        self._transform = create_transform(**self.settings, is_training=False, use_prefetcher=True)
        self.fingerprint = fingerprint({"settings": self.settings, "name": self.architecture}, model.state_dict())

    @property
    def architecture(self) -> str:
        return str(self.model.pretrained_cfg["architecture"])  # type: ignore[index]

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return int(self.settings["input_size"][-1])

    def preprocess(self, image: Image) -> torch.Tensor:
        """Resize and crop as the model was trained: (3, H, W) uint8."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 -> (B, dim) float32 on the CPU."""
        with torch.inference_mode():
            features = self.model(normalise(pixels.to(self.device), self.settings))
        return features.float().cpu()  # type: ignore[no-any-return]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write a timm ``local-dir:`` folder (config.json, model.safetensors)."""
        save_timm(self.model, self.settings, folder)
        return {"kind": "timm", "name": self.name}

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any], device: torch.device | str = "cpu") -> ImageEncoder:
        """Read what `save` wrote. Raises EncoderError where weights and architecture do not fit."""
        model = create_model(f"{LOCAL}{folder}", pretrained=True)
        return cls(model, data_config(model), settings["name"], device)


def normalise(pixels: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    """uint8 (B, 3, H, W) to float32 with the model's mean and standard deviation, channels last."""
    mean = torch.tensor(settings["mean"], device=pixels.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(settings["std"], device=pixels.device).view(1, 3, 1, 1) * 255
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def data_config(model: torch.nn.Module, size: int | None = None) -> dict[str, Any]:
    """timm's preprocessing of a model, at another side in pixels if asked."""
    from timm.data.config import resolve_model_data_config

    settings: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    if size:
        settings["input_size"] = (3, size, size)
        settings["crop_pct"] = 1.0
    return {key: settings[key] for key in PREPROCESSING}


def save_timm(model: torch.nn.Module, settings: dict[str, Any], folder: Path, labels: list[str] | None = None) -> None:
    """Write a model and its preprocessing as a timm ``local-dir:`` folder with safetensors weights.

    Args:
        labels: names of the classes of its classifier, where it has one.
    """
    from timm.models import save_for_hf

    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    model.to(memory_format=torch.contiguous_format)  # safetensors stores no other layout
    config = {"pretrained_cfg": plain, **({"label_names": labels} if labels else {})}
    save_for_hf(model, str(folder), model_config=config, safe_serialization=True)
    model.to(memory_format=torch.channels_last)


def load_image_encoder(config: ImageConfig, device: torch.device | str = "cpu") -> ImageEncoder:
    """Build a pretrained image encoder.

    Raises:
        EncoderError: unknown name (with the closest spelling), or weights that cannot be had.
    """
    model = create_model(config.model, pretrained=True)
    return ImageEncoder(model, data_config(model, config.size), config.model, device)


def create_model(name: str, pretrained: bool, **arguments: Any) -> torch.nn.Module:
    """`timm.create_model`, with each failure as one clear EncoderError."""
    import timm

    _check_name(name)
    remedy = "check the network, give a folder (--set image.model=local-dir:FOLDER), or train from scratch"
    remedy += " (--set image.pretrained=false)"
    if pretrained and not name.startswith((LOCAL, "hf-hub:")) and not _has_weights(name):
        raise EncoderError(f"image.model '{name}' has no pretrained weights in timm; {remedy}")
    with reached(needed=pretrained and not name.startswith(LOCAL)), quiet():
        try:
            return timm.create_model(name, pretrained=pretrained, **arguments)
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
        config = Path(name.removeprefix(LOCAL)) / "config.json"
        if not config.is_file():
            raise EncoderError(f"image.model '{name}': no config.json in that folder; give a timm local-dir folder")
        try:
            json.loads(config.read_text("utf-8"))
        except ValueError as error:
            raise EncoderError(f"image.model '{name}': config.json is not JSON ({error})") from None
    elif not name.startswith("hf-hub:"):
        architecture = name.partition(".")[0]
        if not timm.is_model(architecture):
            known = timm.list_models()
            hint = did_you_mean(architecture, known) if _is_close(architecture, known) else " See timm.list_models()."
            raise EncoderError(f"image.model '{name}': timm has no model '{architecture}'.{hint}")


def _is_close(word: str, known: list[str]) -> bool:
    import difflib

    return bool(difflib.get_close_matches(word, known, n=1, cutoff=0.6))


def _has_weights(name: str) -> bool:
    import timm

    return bool(timm.is_model_pretrained(name))
