"""Several processes that train together, as ``torchrun`` starts them; without it there is one, and nothing here waits.

Each process reads the same rows and comes to the same partition; it encodes and computes its share of them, and what is
added up is equal in all. The first process alone speaks and writes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from plait.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Item = TypeVar("Item")
PATIENCE = timedelta(hours=6)  # for the slowest process, which may still be encoding
LOST = (
    "another process of this training has ended; what was encoded and trained is kept: repeat the command to go on, "
    "with as many processes as you like"
)


def count() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def number() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", 0)) if count() > 1 else 0


def place() -> int:
    """Which of the processes on this machine this is, from 0: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0)) if count() > 1 else 0


def per_machine() -> int:
    """How many of them are on one machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if count() > 1 else 1


def is_first() -> bool:
    """Whether this process speaks and writes."""
    return number() == 0


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's items: every `count`-th."""
    return items[number() :: count()]


def mine(key: bytes) -> bool:
    """Whether an input with this content hash is this process's to encode, whatever others have encoded already."""
    return int.from_bytes(key[:4], "big") % count() == number()


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        with _together() as group:
            group.barrier()


def add_up(tensor: Tensor) -> Tensor:
    """Add a tensor of each process to those of the others, in place; every process has the same sum."""
    if count() > 1:
        with _together() as group:
            group.all_reduce(tensor)
    return tensor


def gathered(item: Any) -> list[Any]:
    """What each process gives, in their order: values that pickle."""
    if count() == 1:
        return [item]
    found: list[Any] = [None] * count()
    with _together() as group:
        group.all_gather_object(found, item)
    return found


def alone(command: str) -> None:
    """Raise ConfigError where a command that trains in one process was started in several."""
    if count() > 1:
        raise ConfigError(f"plait {command} works in one process; start it without torchrun")


@contextmanager
def first_before_others() -> Iterator[bool]:
    """A block that the first process runs before the others do; yields whether this is the first."""
    if not is_first():
        wait()
    yield is_first()
    if is_first():
        wait()


@contextmanager
def understood() -> Iterator[None]:
    """A block in which the end of another process is one clear error.

    Raises:
        EncoderError: another process has ended, or cannot be reached.
    """
    if count() == 1:
        yield
        return
    before = signal.signal(signal.SIGTERM, _told_to_stop)
    try:
        yield
        leave()
    except SystemExit as stop:  # how a command line ends
        if not stop.code:
            leave()
        raise
    except RuntimeError as error:
        if not _is_of_the_group(error):
            raise
        raise EncoderError(LOST) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def leave() -> None:
    """Part from the others once all are here: gloo may abort a process that ends while its threads still wait."""
    if count() > 1 and "torch" in sys.modules:
        with _together() as group:
            group.barrier()
            group.destroy_process_group()


def _told_to_stop(*_: Any) -> None:
    """What torchrun does to the others when one has ended."""
    sys.stderr.write(f"error: {LOST}\n")
    sys.stderr.flush()
    os._exit(2)


SIGNS = ("gloo", "NCCL", "ProcessGroup", "Connection closed by peer", "Connection reset by peer", "DistBackend")


def _is_of_the_group(error: BaseException) -> bool:
    return any(sign in f"{type(error).__name__} {error}" for sign in SIGNS)


@contextmanager
def _together() -> Iterator[Any]:
    """`torch.distributed`, joined to the others where that has not happened yet."""
    import torch
    import torch.distributed as group

    if not group.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        group.init_process_group(backend, timeout=PATIENCE)
    yield group


def on_own_gpu(device: torch.device) -> torch.device:
    """This process's GPU, where several share a machine."""
    import torch

    index: int | None = device.index
    return torch.device("cuda", place()) if count() > 1 and device.type == "cuda" and index is None else device
