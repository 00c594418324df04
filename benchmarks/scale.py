"""What plait does with more rows than memory holds.

    python -m benchmarks.scale heads --rows 10000 100000 1000000 --figure docs/scale-heads.png
    python -m benchmarks.scale jobs RUN TABLE --rows 20000 --engines local ray local ray
    python -m benchmarks.scale jobs RUN TABLE --rows 200000

`heads` makes features of the default encoders' sizes (1,280 of an image, 384 of a text) of many rows, and trains a
linear head on all 1,664 side by side and the early head with features on disk, and in memory where `--in-memory` allows
it: seconds, the most memory the process ever had, and accuracy on the same 20,000 new rows with its interval. Each size
runs in a process of its own.

`jobs` repeats the rows of a table up to a number, answers them by `plait predict --out FOLDER`, and tells rows a second
from the end of the first range to that of the last, and the memory of all its processes on the way.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.config import configure
from plait.fusion.inputs import HeadInputs, logits
from plait.matrix import DiskMatrix
from plait.training.heads.fitter import Fitter
from plait.training.heads.task import Task

WIDTHS = {"image": 1280, "text": 384}
CLASSES, VAL, TEST = 24, 5_000, 20_000
SIGNAL = {"image": 0.07, "text": 0.16}  # of a class's mean, beside noise of 1: neither modality tells all
MADE = 20_000  # rows at once
GROUP = 1024  # rows of a row group of a made table


def main() -> None:
    """Run one size in this process, or all of them each in its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("heads")
    one.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    one.add_argument("--in-memory", type=int, default=100_000, help="rows up to which it is trained in memory, too")
    one.add_argument("--epochs", type=int, default=2, help="of the early head")
    one.add_argument("--store", type=Path, help="folder that takes the features")
    one.add_argument("--figure", type=Path)
    one.set_defaults(run=heads)
    one = kinds.add_parser("jobs")
    one.add_argument("run_folder", metavar="RUN", type=Path)
    one.add_argument("table", type=Path)
    one.add_argument("--rows", type=int, default=20_000)
    one.add_argument("--range-rows", type=int, default=2048)
    one.add_argument("--engines", nargs="+", default=["local"], choices=["local", "ray"])
    one.add_argument("--store", type=Path, help="folder that takes the table and the answers")
    one.set_defaults(run=lambda arguments: jobs(arguments, arguments.run_folder))
    one = kinds.add_parser("one")
    for name in ("rows", "epochs"):
        one.add_argument(name, type=int)
    one.add_argument("model", choices=["linear", "early"])
    one.add_argument("place", choices=["disk", "memory"])
    one.add_argument("store", type=Path)
    one.set_defaults(run=run_one)
    arguments = parser.parse_args()
    arguments.run(arguments)


def heads(arguments: argparse.Namespace) -> None:
    """A line for each head, place and size."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.store) as folder:
        for model in ("linear", "early"):
            for place in ("disk", "memory"):
                for rows in sorted(arguments.rows):
                    if place == "memory" and rows > arguments.in_memory:
                        continue
                    words = [str(rows), str(arguments.epochs), model, place, folder]
                    command = [sys.executable, "-m", "benchmarks.scale", "one", *words]
                    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
                    found.append(json.loads(out.splitlines()[-1]))
                    print(told(found[-1]), flush=True)
    if arguments.figure:
        draw(found, arguments.figure)


def told(one: dict[str, Any]) -> str:
    half = 1.96 * math.sqrt(one["accuracy"] * (1 - one["accuracy"]) / TEST)
    return (
        f"{one['model']:<7} on {one['place']:<7} {one['rows']:>10,} rows  {one['seconds']:9.1f} s  "
        f"{1e6 * one['seconds'] / one['rows']:8.1f} µs a row  {one['evaluations']:4} passes  "
        f"{1e6 * one['seconds'] / one['rows'] / max(1, one['evaluations']):6.2f} µs a row and pass  "
        f"{one['peak'] / 1e9:5.2f} GB  {100 * one['accuracy']:.2f} ± {100 * half:.2f} %"
    )


def run_one(arguments: argparse.Namespace) -> None:
    """One training: its facts as a line of JSON."""
    linear = arguments.model == "linear"
    on_disk = arguments.place == "disk"
    targets, train = made(arguments.rows, 1, linear, arguments.store if on_disk else None)
    val_targets, val = made(VAL, 2, linear, None)
    test_targets, test = made(TEST, 3, linear, None)
    config = configure(overrides=[f"train.epochs={arguments.epochs}"])
    task = Task(train, targets, torch.arange(len(targets)) % 5, val, val_targets, CLASSES)
    passes = counted()
    start = time.perf_counter()
    head = trained(task, linear, config)
    seconds = time.perf_counter() - start
    right = (logits(head, test).argmax(1) == test_targets).float().mean().item()
    facts = {
        "model": arguments.model, "place": arguments.place, "rows": arguments.rows, "seconds": seconds,
        "evaluations": passes[0] if linear else arguments.epochs, "accuracy": right,
        "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }  # fmt: skip
    print(json.dumps(facts))


def trained(task: Task, linear: bool, config: Any) -> Any:
    fitter = Fitter(task, config)
    if linear:
        return fitter.fit("image").head
    from plait.training.heads.descent import Copies, train
    from plait.training.heads.early import new_early

    head = new_early(fitter.rows, fitter.shape("early"), config)
    answers = fitter.rows.answers, fitter.rows.as_shared(task.val_targets)
    train(Copies([head]), (task.train, answers[0]), (task.val, answers[1]), config.train)
    return head


def counted() -> list[int]:
    """Counts evaluations of linear heads' losses from now on."""
    from plait.fusion.lbfgs import Descent

    found, evaluate = [0], Descent._evaluate

    def counting(self: Descent, point: Tensor) -> Any:
        found[0] += len(point) > len(WIDTHS) * 100  # those of the calibration are small
        return evaluate(self, point)

    Descent._evaluate = counting  # type: ignore[method-assign]
    return found


def made(rows: int, seed: int, linear: bool, store: Path | None) -> tuple[Tensor, HeadInputs]:
    """Classes and features of rows: with `linear` all columns as one modality; on disk where there is a folder."""
    targets = torch.from_numpy(np.random.default_rng(seed).integers(CLASSES, size=rows))
    widths = {"image": sum(WIDTHS.values())} if linear else WIDTHS
    features: dict[str, Any] = {
        name: torch.empty(rows, width) if store is None else DiskMatrix.new(store, rows, width)
        for name, width in widths.items()
    }
    for first, parts in drawn(targets, seed):
        blocks = {"image": np.concatenate(list(parts.values()), 1)} if linear else parts
        for name, block in blocks.items():
            if store is None:
                features[name][first : first + len(block)] = torch.from_numpy(block)
            else:
                features[name].write(first, block)
    here = torch.ones(rows, dtype=torch.bool)
    return targets, HeadInputs(features, dict.fromkeys(features, here))


def drawn(targets: Tensor, seed: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Noise around the mean of each row's class, correlated over columns as features are."""
    means = {name: np.random.default_rng(0).normal(0, SIGNAL[name], (CLASSES, w)) for name, w in WIDTHS.items()}
    scales = {name: np.geomspace(2, 0.2, w).astype(np.float32) for name, w in WIDTHS.items()}
    rng = np.random.default_rng([seed, 7])
    for first in range(0, len(targets), MADE):
        some = targets[first : first + MADE].numpy()
        yield (
            first,
            {
                name: (means[name][some].astype(np.float32) + rng.standard_normal((len(some), width), np.float32))
                * scales[name]
                for name, width in WIDTHS.items()
            },
        )


def jobs(arguments: argparse.Namespace, run: Path) -> None:
    """A job for each engine in turn, and how many rows a second Ray does of those that the local engine does."""
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.store) as folder:
        table = repeated(arguments.table, arguments.rows, Path(folder))
        for number, engine in enumerate(arguments.engines):
            out = Path(folder) / f"{number}-{engine}"
            words = [str(run), str(table), "--out", str(out), "--engine", engine]
            command = [sys.executable, "-m", "plait", "predict", *words, "--range-rows", str(arguments.range_rows)]
            start = time.time()
            memory = watched(command)
            ends = sorted(file.stat().st_mtime for file in out.glob("rows-*.parquet"))
            rate = (arguments.rows - arguments.range_rows) / (ends[-1] - ends[0])
            rates.setdefault(engine, []).append(rate)
            steady = [(when, size) for when, size in memory if ends[0] <= when <= ends[-1]] or memory
            marks = [f"{steady[int(share * (len(steady) - 1))][1] / 1e9:.2f}" for share in (0, 0.25, 0.5, 0.75, 1)]
            print(
                f"{engine:<6} {arguments.rows:,} rows, {rate:.1f} rows/s, first range after {ends[0] - start:.1f} s; "
                f"GB at the first range, quarter, half, three quarters, end: {', '.join(marks)}",
                flush=True,
            )  # fmt: skip
    if {"local", "ray"} <= set(rates):
        ratio = statistics.median(rates["ray"]) / statistics.median(rates["local"])
        print(f"ray / local: {ratio:.3f}")


def repeated(table: Path, rows: int, folder: Path) -> Path:
    """The rows of a table again and again, each with an id of its own, in row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pq.read_table(table)
    out = folder / "rows.parquet"
    place = source.schema.get_field_index("id")
    with pq.ParquetWriter(out, source.schema.set(place, pa.field("id", pa.string()))) as writer:
        for first in range(0, rows, GROUP):
            numbers = np.arange(first, min(first + GROUP, rows))
            part = source.take(numbers % len(source))
            writer.write_table(part.set_column(place, "id", pa.array([str(number) for number in numbers])))
    return out


def watched(command: list[str]) -> list[tuple[float, int]]:
    """Run a command; when, and how many bytes of memory its processes had, mapped files not counted (PSS)."""
    found = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        while process.poll() is None:
            found.append((time.time(), sum(held(pid) for pid in session(process.pid))))
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return found


def session(leader: int) -> list[int]:
    """Processes descended from one."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = [leader], [leader]
    while new:
        new = [pid for pid, parent in parents.items() if parent in new and pid not in found]
        found += new
    return found


def held(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return 0


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Seconds and memory by rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    plots = zip(figure.subplots(1, 2), ("seconds", "peak"), ("seconds", "GB at most"), (1, 1e9), strict=True)
    for axes, key, label, unit in plots:
        for model, color in (("linear", "#0072b2"), ("early", "#c27c00")):
            for place, style, words in (("disk", "-", "on disk"), ("memory", ":", "in memory")):
                some = [one for one in found if (one["model"], one["place"]) == (model, place)]
                rows, values = [one["rows"] for one in some], [one[key] / unit for one in some]
                axes.plot(rows, values, style, marker="o", color=color, label=f"{model}, {words}")
        axes.set(xscale="log", xlabel="rows of 1,664 features", ylabel=label)
        axes.set_yscale("log" if key == "seconds" else "linear")
        axes.grid(color="#e3e4e0")
        if key == "peak":
            axes.set_ylim(0)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    print(path)


if __name__ == "__main__":
    main()
