"""The encoders of a classifier, one strand each, and how they are kept in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from plait.encoders.image import ImageEncoder
from plait.encoders.text import SentenceEncoder, TextEncoder
from plait.encoders.tfidf import TfidfEncoder
from plait.errors import EncoderError


@dataclass
class EncoderPair:
    """An image encoder and text encoders; a strand that is not used has none."""

    image: ImageEncoder | None = None
    text: list[TextEncoder] = field(default_factory=list)

    @property
    def strands(self) -> tuple[str, ...]:
        """Which strands there are encoders for."""
        return (("image",) if self.image is not None else ()) + (("text",) if self.text else ())

    def save(self, folder: Path) -> dict[str, Any]:
        """Write every encoder to a folder of its own below `folder`; return what `load` needs."""
        parts: dict[str, Any] = {}
        if self.image is not None:
            parts["image"] = {"folder": "image", **self.image.save(folder / "image")}
        parts["text"] = [{"folder": f"text-{i}", **one.save(folder / f"text-{i}")} for i, one in enumerate(self.text)]
        return parts

    @classmethod
    def load(cls, folder: Path, parts: dict[str, Any], device: torch.device | str = "cpu") -> EncoderPair:
        """Read what `save` wrote. Raises EncoderError for another folder or kind of encoder than it writes."""
        image = parts.get("image")
        encoders: list[TextEncoder] = []
        for i, part in enumerate(parts.get("text", [])):
            _require_folder(part, f"text-{i}")
            if part["kind"] not in ("tfidf", "sentence"):
                raise EncoderError(f"{folder}: unknown kind of text encoder '{part['kind']}'; upgrade plait")
            where = folder / part["folder"]
            encoders.append(
                TfidfEncoder.load(where) if part["kind"] == "tfidf" else SentenceEncoder.load(where, part, device)
            )
        if image:
            _require_folder(image, "image")
        return cls(ImageEncoder.load(folder / image["folder"], image, device) if image else None, encoders)


def _require_folder(part: dict[str, Any], name: str) -> None:
    if part["folder"] != name:
        raise EncoderError(
            f"an encoder is said to be in '{part['folder']}' instead of '{name}'; do not trust this folder"
        )
