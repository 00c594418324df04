"""From a picture to the pixels an image encoder takes, with Pillow and NumPy; those as a network takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

KEYS = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
CROP_PCT = 0.875  # timm's, where a model names none


@dataclass(frozen=True)
class Preprocessing:
    """Resize and crop a picture as timm evaluates its models; equal to its transform, pixel by pixel.

    Args:
        settings: timm's data config: ``input_size`` (3, H, W), ``interpolation``, ``mean``, ``std``, ``crop_pct``,
            ``crop_mode`` (``center`` cuts what is too long, ``squash`` changes the aspect ratio, ``border`` pads with
            the mean colour).
    """

    settings: Mapping[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        _, height, width = self.settings["input_size"]
        return int(height), int(width)

    def __call__(self, image: Image) -> np.ndarray:
        """An RGB picture -> (3, H, W) uint8."""
        height, width = self.size
        image = image.resize(self._scaled(image), resampling(self.settings))
        top, left = round((image.height - height) / 2), round((image.width - width) / 2)
        if image.height < height or image.width < width:
            image = self._padded(image)
            top, left = max(top, 0), max(left, 0)
        image = image.crop((left, top, left + width, top + height))
        return np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1))

    def _scaled(self, image: Image) -> tuple[int, int]:
        """Width and height that the picture is resized to before it is cropped."""
        height, width = (math.floor(side / (self.settings["crop_pct"] or CROP_PCT)) for side in self.size)
        mode = self.settings["crop_mode"]
        if mode == "squash":
            return width, height
        if mode != "border" and height == width:
            # As torchvision does it, which rounds the longer side down.
            if image.width <= image.height:
                return width, int(width * image.height / image.width)
            return int(height * image.width / image.height), height
        ratios = image.height / height, image.width / width
        ratio = max(ratios) if mode == "border" else min(ratios)
        return max(1, round(image.width / ratio)), max(1, round(image.height / ratio))

    def _padded(self, image: Image) -> Image:
        """At least as large as the crop, the picture in the middle."""
        from PIL import Image as Pillow

        border = self.settings["crop_mode"] == "border"
        colour: Any = tuple(round(255 * part) for part in self.settings["mean"]) if border else (0, 0, 0)
        height, width = self.size
        canvas = Pillow.new("RGB", (max(width, image.width), max(height, image.height)), colour)
        canvas.paste(image, (max(0, (width - image.width) // 2), max(0, (height - image.height) // 2)))
        return canvas


def resampling(settings: Mapping[str, Any]) -> Any:
    """Pillow's filter for timm's ``interpolation``."""
    from PIL.Image import Resampling

    return Resampling[settings["interpolation"].upper()]


def normalise(pixels: torch.Tensor, settings: Mapping[str, Any]) -> torch.Tensor:
    """uint8 (B, 3, H, W) to float32 with the model's mean and standard deviation, channels last."""
    import torch

    mean = torch.tensor(settings["mean"], device=pixels.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(settings["std"], device=pixels.device).view(1, 3, 1, 1) * 255
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
