"""A space of three stages and few channels, and the command line on it: ``python tiny.py [--go FILE] ARGUMENTS``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from plait.search import space
from plait.search.space import Space, Width

WIDTHS = {"tiny": Width(8, (8, 8, 16), 16), "small": Width(8, (8, 16, 24), 32)}
LAYERS = ((1,), (1, 2), (1, 2))
REFERENCE = "test_efficientnet"


def tiny_space(sizes: tuple[int, ...]) -> Space:
    return Space(sizes, WIDTHS, LAYERS)


def shrink(patch: Any) -> None:
    """Make searches take place in the tiny space, where the reference is a point, and time few steps.

    Beside other tests times always spread.
    """
    from plait.search import measure, run

    patch(run, "Space", tiny_space)
    patch(measure, "MOST", measure.REPEATS)
    patch(space, "KNOWN", {REFERENCE: ("tiny", (1, 2, 2, 1, 1, 1))})


def main() -> None:
    import torch

    from plait.cli import main as command

    torch.set_num_threads(1)
    shrink(setattr)
    if sys.argv[1] == "--go":
        go = Path(sys.argv[2])
        go.with_suffix(f".{time.time_ns()}.ready").touch()
        while not go.exists():
            time.sleep(0.01)
        del sys.argv[1:3]
    command()


if __name__ == "__main__":
    main()
