"""What every encoder offers, and the few helpers they share."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from plait.config import Precision
from plait.devices import has_bf16
from plait.progress import hushed

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch

    from plait.encoders.pixels import Preprocessing

Modality = Literal["image", "text"]
TALKERS = ("timm", "sentence_transformers", "transformers", "huggingface_hub", "huggingface_hub.utils._http",
           "model2vec", "skeletoken")  # fmt: skip


class Encoder(Protocol):
    """Maps a batch of images or texts to vectors ``(B, dim)``.

    `fingerprint` names model, weights, preprocessing and precision: equal fingerprints give equal features. Those of a
    row do not depend on the rows beside it, nor on their number: another batch, and other padding of a text, change
    the rounding alone, by some 1e-6 of the largest feature in 32 bits and 1e-2 in bf16.

    `save` writes JSON and safetensors (and tokenizer) files only, and returns how to load them again.
    """

    modality: Modality
    name: str
    dim: int
    fingerprint: str

    def save(self, folder: Path) -> dict[str, Any]: ...


class FromFiles:
    """An encoder that answers from its files alone, and opens the whole model for anything else.

    Args:
        whole: opens the model with the library that it comes from.
    """

    def __init__(self, whole: Callable[[], Any]):
        self._whole, self._opened = whole, None

    def opened(self) -> Any:
        """The whole model, as an encoder of its library's."""
        if self._opened is None:
            self._opened = self._whole()
        return self._opened

    def save(self, folder: Path) -> dict[str, Any]:
        """Write a folder of that library's, which anyone can load."""
        found: dict[str, Any] = self.opened().save(folder)
        return found


class ImageEncoder(Encoder, Protocol):
    """An encoder of the image modality; `size` is the side of its input in pixels."""

    @property
    def preprocess(self) -> Preprocessing: ...

    @property
    def size(self) -> int: ...

    def encode(self, pixels: np.ndarray) -> np.ndarray: ...


class TextEncoder(Encoder, Protocol):
    """An encoder of the text modality; one that is `quick` computes its features sooner than they are read back."""

    quick: bool

    def encode(self, texts: list[str]) -> np.ndarray: ...


def fingerprint(settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor | np.ndarray]) -> str:
    """32 hex digits over preprocessing settings and every weight's name, shape and value."""
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=16)
    for name in sorted(tensors):
        kind, content = _content(tensors[name])
        digest.update(f"{name}{tuple(tensors[name].shape)}{kind}".encode())
        digest.update(content)
    return digest.hexdigest()


def _content(tensor: torch.Tensor | np.ndarray) -> tuple[str, bytes]:
    if hasattr(tensor, "detach"):
        import torch

        plain = tensor.detach().cpu().contiguous()
        return str(plain.dtype), plain.view(-1).view(torch.uint8).numpy().tobytes()
    return f"torch.{tensor.dtype}", tensor.tobytes()


def in_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether an encoder computes in bfloat16."""
    return has_bf16(device) if precision == "auto" else precision == "bf16"


@contextlib.contextmanager
def computing(bf16: bool, device: torch.device) -> Iterator[None]:
    """A block that computes in bfloat16, or in the whole 32 bits: cuDNN would round to TF32's 19."""
    import torch

    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        if bf16 or device.type != "cuda":
            yield
            return
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep loading bars, warnings and retries of the libraries underneath off the user's terminal."""
    bars: Any = sys.modules.get("transformers.utils.logging")
    bars_were_on = bars is not None and bars.is_progress_bar_enabled()
    with hushed(*TALKERS):
        if bars_were_on:
            bars.disable_progress_bar()
        try:
            yield
        finally:
            if bars_were_on:
                bars.enable_progress_bar()
