"""The encoders of a classifier, one modality each, and how they are kept in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.encoders.base import ImageEncoder, TextEncoder
from plait.encoders.joined import FOLDER, by_folder
from plait.encoders.kinds import IMAGE, JOINED, TEXT, load_kind
from plait.encoders.tfidf import TfidfEncoder
from plait.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class EncoderPair:
    """An image encoder and text encoders; a modality that is not used has none."""

    image: ImageEncoder | None = None
    text: list[TextEncoder] = field(default_factory=list)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Which modalities there are encoders for."""
        return (("image",) if self.image is not None else ()) + (("text",) if self.text else ())

    @property
    def images(self) -> list[ImageEncoder]:
        """The image encoders, one by one where several stand side by side."""
        return list(by_folder(self.image).values())

    @property
    def dims(self) -> dict[str, int]:
        """How many features each modality has; those of several text encoders stand side by side."""
        dims = {} if self.image is None else {"image": self.image.dim}
        return {**dims, "text": sum(one.dim for one in self.text)} if self.text else dims

    def opened(self) -> EncoderPair:
        """The encoders themselves, of which some were only remembered."""
        image, *text = (getattr(one, "opened", lambda one=one: one)() for one in (self.image, *self.text))
        return EncoderPair(image, text)

    def with_scores(self, scores: Mapping[int, Tensor]) -> EncoderPair:
        """The encoders with (V, K) linear classifiers on the wide features of some text encoders, by number."""
        text = [
            one.with_scores(scores[i].numpy()) if i in scores and isinstance(one, TfidfEncoder) else one
            for i, one in enumerate(self.text)
        ]
        return EncoderPair(self.image, text)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write every encoder to a folder of its own below `folder`; return what `load` needs."""
        parts: dict[str, Any] = {}
        if self.image is not None:
            parts["image"] = {"folder": FOLDER, **self.image.save(folder / FOLDER)}
        parts["text"] = [{"folder": f"text-{i}", **one.save(folder / f"text-{i}")} for i, one in enumerate(self.text)]
        return parts

    @classmethod
    def load(cls, folder: Path, parts: dict[str, Any], device: torch.device | str = "cpu") -> EncoderPair:
        """Read what `save` wrote. Raises EncoderError for another folder or kind of encoder than it writes."""
        texts: list[TextEncoder] = []
        for i, part in enumerate(parts.get("text", [])):
            _require_folder(part, f"text-{i}")
            texts.append(load_kind(TEXT, folder / part["folder"], part, device))
        image = parts.get("image")
        if image:
            _require_folder(image, FOLDER)
        kinds = {**IMAGE, **JOINED}
        return cls(load_kind(kinds, folder / image["folder"], image, device) if image else None, texts)


def _require_folder(part: dict[str, Any], name: str) -> None:
    if part["folder"] != name:
        raise EncoderError(
            f"an encoder is said to be in '{part['folder']}' instead of '{name}'; do not trust this folder"
        )
