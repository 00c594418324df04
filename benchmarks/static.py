"""A static encoder against the text encoder that it is distilled from: accuracy of a linear head, and speed.

    python -m benchmarks.static TRAIN TEST text.model=tuned

Both encode the texts of TEST on one thread, in turns; the ratio of their speeds is the median of the turns.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from benchmarks.probing import open_network, probe, read_tables
from plait.config import configure
from plait.encoders.text import SentenceEncoder
from plait.training.encoders.static import distil

TURNS = 3
LEAST = 0.2  # seconds that the fast one is timed for


def main() -> None:
    """Distil, and print a row for each encoder."""
    train, test, *overrides = sys.argv[1:]
    config = configure(overrides=overrides)
    tables = read_tables(train, test, config)
    torch.set_num_threads(1)
    teacher = open_network(config)
    made = distil(teacher, tables.train.filled, tables.val.filled, config.text, config.seed)
    encoders = {"teacher": teacher, "static": made.encoder}
    texts = tables.test.filled
    speeds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(TURNS):
        for name, encoder in encoders.items():
            speeds[name].append(_speed(encoder, texts))
    for name, encoder in encoders.items():
        accuracy = probe(encoder, tables, config.seed)
        print(f"{name:<8} {accuracy:7.2%}   {statistics.median(speeds[name]):9,.0f} texts/s, one thread", flush=True)
    ratio = statistics.median(fast / slow for fast, slow in zip(speeds["static"], speeds["teacher"], strict=True))
    print(
        f"static is {ratio:.0f} times as fast; distilled in {made.seconds:.0f} s from {len(tables.train.texts)} texts"
    )


def _speed(encoder: SentenceEncoder, texts: list[str]) -> float:
    """Texts a second."""
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < LEAST:
        encoder.encode(texts)
        count += len(texts)
    return count / passed


if __name__ == "__main__":
    main()
