"""Memory that is freed and wanted again at once, as every layer of a network wants it."""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
MAPPED = 1 << 30  # bytes from which an allocation is given back when it is freed
ASKED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def reuse_freed() -> bool:
    """Let this process keep what it frees, up to 1 GiB in one piece, and use it again; False where it cannot be asked.

    By itself the C library of Linux maps each large tensor anew and gives it back, and the kernel clears every page of
    it each time, which can take longer than the arithmetic. The process stays as large as it once was.

    The environment variables of mallopt(3) and ``GLIBC_TUNABLES`` are left as they are, where one is set.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in ASKED):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, MAPPED)) and bool(mallopt(TRIM_THRESHOLD, 2**31 - 1))
