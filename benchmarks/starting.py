"""Seconds and memory of whole processes: importing, starting to answer, comparing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import Table
from plait.data.pairs import Pairs

CHILD = """
import json, time
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
# What getrusage calls the peak is that of the parent, where it was larger.
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({{"seconds": seconds, "gigabytes_at_most": int(peak[0]) / 2**20}}))
"""
OPEN = """from plait.inference.engine import Item
from plait.runs.open import load
load({folder!r}).answer([Item(None, "miso ramen")])"""
MAIN = """
import sys, plait.cli
sys.argv = ['plait', *{command!r}]
try:
    plait.cli.main()
except SystemExit:
    pass
"""


def measure(folder: Path, pairs: Pairs, settings: list[str], table: Table) -> None:
    """Add the rows; `folder` has ``run``, ``onnx`` and ``int8``."""
    table.add("import plait", **child("import plait"))
    table.add("plait --help", **child(MAIN.format(command=["--help"])))
    for name in ("run", "onnx", "int8"):
        table.add(f"open {name} and answer once", **child(OPEN.format(folder=str(folder / name))))
    pairs.table.to_parquet(folder / "rows.parquet")
    new = [*(one for one in settings if not one.startswith("store=")), f"store={folder}/other"]
    options = [part for one in new for part in ("--set", one)]
    for turn in ("first time", "second time"):
        command = ["compare", str(folder / "rows.parquet"), "--out", str(folder / "comparison"), *options]
        table.add(f"compare, {turn}", **child(MAIN.format(command=command)))


def child(code: str) -> dict[str, float]:
    """Wall seconds and peak memory of code in a process of its own."""
    command = [sys.executable, "-c", CHILD.format(code=code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values
