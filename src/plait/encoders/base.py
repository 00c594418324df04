"""What every encoder offers, and the few helpers they share."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import torch

Strand = Literal["image", "text"]


class Encoder(Protocol):
    """Maps a batch of images or texts to vectors ``(B, dim)``.

    `fingerprint` names model, weights and preprocessing: equal fingerprints give equal features.
    `save` writes JSON and safetensors (and tokenizer) files only, and returns how to load them again.
    """

    strand: Strand
    name: str
    dim: int
    fingerprint: str

    def save(self, folder: Path) -> dict[str, Any]: ...


def fingerprint(settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """32 hex digits over preprocessing settings and every weight's name, shape and value."""
    import torch

    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=16)
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def pick_device(device: str) -> torch.device:
    """``auto`` is the first of CUDA, Apple's MPS and the CPU that is there. Raises EncoderError for an unknown name."""
    import torch

    from plait.errors import EncoderError

    if device != "auto":
        try:
            torch.empty(0, device=device)
            return torch.device(device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise EncoderError(f"device '{device}' cannot be used: {reason}; try --set device=auto") from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep loading bars, warnings and retries of the libraries underneath off the user's terminal."""
    names = ("timm", "sentence_transformers", "transformers", "huggingface_hub", "huggingface_hub.utils._http",
             "model2vec", "skeletoken")  # fmt: skip
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    bars: Any = sys.modules.get("transformers.utils.logging")
    bars_were_on = bars is not None and bars.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        if bars_were_on:
            bars.disable_progress_bar()
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if bars_were_on:
                bars.enable_progress_bar()
