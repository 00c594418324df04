"""Too little memory: say which batch would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from plait.errors import EncoderError

Rehearse = Callable[..., tuple[int, int]]


@contextmanager
def needs_memory(rehearse: Rehearse, section: str) -> Iterator[None]:
    """Turn running out of memory in the block into an error that names the largest batch that fits.

    Args:
        rehearse: ``rehearse()`` gives the size in pixels and the batch now in use; ``rehearse(b)`` does one training
            step with b rows.
        section: where the batch is configured, e.g. ``image.train``.

    Raises:
        EncoderError: instead of what the device raised.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return
    size, batch = rehearse()
    fits = _largest(rehearse, batch)
    if not fits:
        raise EncoderError(f"out of memory at {size} px, even with two rows a batch; set a smaller image.size or model")
    raise EncoderError(
        f"out of memory at {size} px with {batch} rows a batch; {fits} would fit: "
        f"--set {section}.batch={fits} --set {section}.accumulate={-(-batch // fits)}"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _largest(rehearse: Rehearse, batch: int) -> int:
    """The largest half, quarter, ... of a batch that does a step; 0 where two rows are too many."""
    while (batch := batch // 2) >= 2:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            rehearse(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return batch
    return 0
