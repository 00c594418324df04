"""Where tensors are computed, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait.errors import EncoderError, setting

if TYPE_CHECKING:
    import torch


def pick_device(device: str) -> torch.device:
    """``auto`` is the first of CUDA, Apple's MPS and the CPU that is there. Raises EncoderError for an unknown name."""
    import torch

    if device != "auto":
        try:
            torch.empty(0, device=device)
            return torch.device(device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise EncoderError(f"device '{device}' cannot be used: {reason}; try {setting('device=auto')}") from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def in_32_bits(device: torch.device) -> torch.autocast:
    """A block that computes in 32 bits what it is given in 32 bits, though its caller computes in half precision."""
    import torch

    return torch.autocast(device.type, enabled=False)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices with instructions of its own, so that they cost half of fp32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
