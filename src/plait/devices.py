"""Where tensors are computed, and in which precision."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from plait.errors import EncoderError, setting
from plait.processes import on_own_gpu
from plait.progress import say

if TYPE_CHECKING:
    import torch


def pick_device(device: str) -> torch.device:
    """``auto`` is the first of CUDA, Apple's MPS and the CPU that is there. Raises EncoderError for an unknown name."""
    import torch

    if device != "auto":
        try:
            torch.empty(0, device=device)
            return on_own_gpu(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise EncoderError(f"device '{device}' cannot be used: {reason}; try {setting('device=auto')}") from None
    if torch.cuda.is_available():
        return on_own_gpu(torch.device("cuda"))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def in_32_bits(device: torch.device) -> torch.autocast:
    """A block that computes in 32 bits what it is given in 32 bits, though its caller computes in half precision."""
    import torch

    return torch.autocast(device.type, enabled=False)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices with instructions of its own, so that they cost half of fp32.

    A CPU must have them and oneDNN use them, which ``ONEDNN_MAX_CPU_ISA`` can forbid.
    """
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(has and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def has_bf16_lstm(kind: str) -> bool:
    """Whether devices of that kind run an LSTM in bfloat16 and back: oneDNN has none for a CPU without AVX-512.

    Args:
        kind: ``torch.device.type``.
    """
    import torch

    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=()):
        lstm = torch.nn.LSTM(8, 8, bidirectional=True, batch_first=True, device=kind)
        tokens = torch.zeros(2, 3, 8, device=kind)
        try:
            with torch.autocast(kind, torch.bfloat16):
                lstm(tokens)[0].sum().backward()
        except RuntimeError:
            say("this processor has no LSTM in bf16: that layer computes in 32 bits")
            return False
    return True
