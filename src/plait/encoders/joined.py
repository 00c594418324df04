"""Several image encoders side by side: each picture is decoded once, and seen by each at a side of its own.

Networks of other training see other things. One as it came steadies one that was tuned, whose features of the pictures
that it has learnt from are better than those of new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from plait.encoders.base import ImageEncoder, Modality, fingerprint
from plait.encoders.kinds import IMAGE, load_kind
from plait.encoders.pixels import KEYS, Preprocessing, resampling
from plait.errors import EncoderError, setting

KIND = "joined"
FOLDER = "image"  # of a run's image encoder


class JoinedImageEncoder:
    """The features of several encoders, side by side.

    Pixels are those of the member with the largest input; for the others they are made smaller.

    Args:
        members: two or more.
    """

    modality: Modality = "image"

    def __init__(self, members: Sequence[ImageEncoder]):
        self.members = list(members)
        self.name = "+".join(one.name for one in self.members)
        self.dim = sum(one.dim for one in self.members)
        self.fingerprint = fingerprint({"kind": KIND, "members": [one.fingerprint for one in self.members]}, {})

    @property
    def folders(self) -> dict[str, ImageEncoder]:
        """The members by the names of their folders below its own."""
        return {str(i): member for i, member in enumerate(self.members)}

    @property
    def is_open(self) -> bool:
        """Whether every member is, see `Remembered`."""
        return all(getattr(one, "is_open", True) for one in self.members)

    def opened(self) -> JoinedImageEncoder:
        """With members that are open, as whole models."""
        return JoinedImageEncoder([getattr(one, "opened", lambda one=one: one)() for one in self.members])

    @cached_property
    def preprocess(self) -> Preprocessing:
        """Of the member with the largest input.

        Raises:
            EncoderError: members do not look at the same part of a picture.
        """
        modes = [one.preprocess.settings["crop_mode"] for one in self.members]
        for member, mode in zip(self.members, modes, strict=True):
            if mode != modes[0]:
                raise EncoderError(
                    f"image.model '{self.name}': '{self.members[0].name}' takes pictures by crop_mode {modes[0]}, "
                    f"'{member.name}' by {mode}; choose one for both: {setting(f'image.crop_mode={modes[0]}')}"
                )
        return max((one.preprocess for one in self.members), key=lambda one: one.size)

    @cached_property
    def parts(self) -> list[ImageEncoder]:
        """Encoders of the same pixels whose features stand side by side: members, or `Smaller` ones."""
        pixels = _pixels(self.preprocess)
        return [one if _pixels(one.preprocess) == pixels else Smaller(one, self.preprocess) for one in self.members]

    @property
    def size(self) -> int:
        """Side of the largest input in pixels."""
        return self.preprocess.size[-1]

    @property
    def parameters(self) -> int:
        """How many the networks have."""
        return sum(one.parameters for one in self.members)  # type: ignore[attr-defined]

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) uint8 -> (B, dim) float32."""
        return np.concatenate([one.encode(pixels) for one in self.parts], axis=1)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write each member to a folder of its own below."""
        return self.written(folder, lambda member, to: member.save(to))

    def written(self, folder: Path, write: Callable[[Any, Path], dict[str, Any]]) -> dict[str, Any]:
        """What `load` needs of members that are written by `write`."""
        parts = []
        for name, member in self.folders.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            parts.append(write(member, folder / name))
        return {"kind": KIND, "name": self.name, "members": parts}

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], device: Any = "cpu") -> JoinedImageEncoder:
        """Read what `save`, or `plait export`, wrote."""
        return cls([load_kind(IMAGE, folder / str(i), one, device) for i, one in enumerate(part["members"])])


class Smaller:
    """An encoder that looks at the pixels of another one, made smaller, or cut out in its way.

    Args:
        whole: an encoder of an input of the same side, or a smaller one. preprocess: of the other one.
    """

    modality: Modality = "image"

    def __init__(self, whole: ImageEncoder, preprocess: Preprocessing):
        self.whole, self.preprocess = whole, preprocess
        self.name, self.dim, self.size = whole.name, whole.dim, preprocess.size[-1]
        known = {"kind": "smaller", "whole": whole.fingerprint, "pixels": _pixels(preprocess)}
        self.fingerprint = fingerprint(known, {})

    @property
    def parameters(self) -> int:
        """How many the network has."""
        found: int = self.whole.parameters  # type: ignore[attr-defined]
        return found

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) uint8 -> (B, dim) float32."""
        height, width = self.whole.preprocess.size
        if pixels.shape[2:] != (height, width):
            from PIL import Image

            filter_ = resampling(self.whole.preprocess.settings)
            smaller = (Image.fromarray(one.transpose(1, 2, 0)).resize((width, height), filter_) for one in pixels)
            pixels = np.array([np.asarray(one).transpose(2, 0, 1) for one in smaller], np.uint8)
            pixels = pixels.reshape(-1, 3, height, width)
        return self.whole.encode(pixels)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the encoder itself."""
        return self.whole.save(folder)


def _pixels(preprocess: Preprocessing) -> dict[str, Any]:
    """What decides which pixels an encoder looks at, however it scales their values."""
    found = {key: preprocess.settings[key] for key in KEYS if key not in ("mean", "std")}
    return {**found, "input_size": list(found["input_size"])}


def by_folder(encoder: ImageEncoder | None) -> dict[str, ImageEncoder]:
    """The encoders that one is made of (none, itself, or its members), by their folders in a run."""
    if isinstance(encoder, JoinedImageEncoder):
        return {f"{FOLDER}/{name}": member for name, member in encoder.folders.items()}
    return {} if encoder is None else {FOLDER: encoder}
