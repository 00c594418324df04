"""Too little memory: say which batch would fit."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from plait.errors import EncoderError, setting
from plait.training.loop import Loop, autocast

MOMENTS = 2  # numbers that AdamW keeps of each weight
SIGNS = ("allocate memory", "out of memory", "ALLOC_FAILED")  # in the words of the CPU, MPS and CUDA's libraries


class Rehearsal(Protocol):
    """A training module that can try a step."""

    def rehearse(self, batch: int | None = None) -> tuple[int, int]:
        """The size in pixels and the batch now in use; with `batch`, after one training step of so many rows."""

    def to(self, device: Any, /) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def parameters(self) -> Iterable[nn.Parameter]: ...


@contextmanager
def needs_memory(task: Rehearsal, section: str, loop: Loop) -> Iterator[None]:
    """Turn running out of memory in the block into an error that names the largest batch that fits.

    Steps are tried on the device and in the precision of the training; the module comes back to the CPU.

    Args:
        section: where the batch is configured, e.g. ``image.train``.
        loop: the training that the block runs.

    Raises:
        EncoderError: instead of what the device raised.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _let_go(error)
    else:
        return
    size, batch = task.rehearse()
    fits = _largest(task, batch, loop)
    if not fits:
        raise EncoderError(f"out of memory at {size} px, even with two rows a batch; set a smaller image.size or model")
    raise EncoderError(
        f"out of memory at {size} px with {batch} rows a batch; {fits} would fit: "
        + setting(f"{section}.batch={fits}", f"{section}.accumulate={-(-batch // fits)}")
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in SIGNS)


def _largest(task: Rehearsal, batch: int, loop: Loop) -> int:
    """The largest half, quarter, ... of a batch that does a step; 0 where two rows are too many."""
    try:
        while (batch := batch // 2) >= 2:
            if _fits(task, batch, loop):
                return batch
        return 0
    finally:
        task.to(torch.device("cpu"))


def _fits(task: Rehearsal, batch: int, loop: Loop) -> bool:
    device = torch.device(loop.device)
    task.zero_grad()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        task.to(device)
        moments = [torch.zeros_like(p) for p in task.parameters() if p.requires_grad for _ in range(MOMENTS)]
        with autocast(loop.precision, device):
            task.rehearse(batch)
        del moments
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _let_go(error)
        return False
    return True


def _let_go(error: BaseException | None) -> None:
    """Drop what the frames of a failed step hold: its activations."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
