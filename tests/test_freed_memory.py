"""Freed memory that is used again, counted by the pages the kernel hands out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import numpy as np, resource
import sys
from contextlib import suppress
from plait.cli import main
from plait.memory import reuse_freed

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def filled():
    before = pages()
    np.ones(8_000_000)
    return pages() - before

def commanded():
    sys.argv = ["plait", "--version"]
    with suppress(SystemExit):
        main()

asked = {ask}
filled()
print(asked, max(filled() for _ in range(3)))
"""
FEW = 10  # pages of 64 MB, whether of 4 KB or of 2 MB


def _ran(ask: str, **environment: str) -> tuple[str, int]:
    """What asking answers, and the pages that an array of 64 MB costs where one of that size was freed before."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))} | environment
    code = CODE.replace("{ask}", ask)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    answer, pages = out.split()[-2:]
    return answer, int(pages)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the C library of Linux")
def test_freed_memory_is_used_again() -> None:
    assert _ran("None")[1] > FEW
    answer, pages = _ran("reuse_freed()")
    if answer == "False":
        pytest.skip("this C library has no mallopt")
    assert pages <= FEW
    assert _ran("commanded()")[1] <= FEW  # and every command asks for it


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"])
def test_what_the_environment_says_of_memory_stands(name: str) -> None:
    said = "glibc.malloc.mmap_max=65536" if name == "GLIBC_TUNABLES" else "65536"
    assert _ran("reuse_freed()", **{name: said})[0] == "False"
