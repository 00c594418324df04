"""Progressive learning against fixed-size training: same rows, same epochs, one after the other in one run.

    python -m benchmarks.tune TRAIN TEST image.model=local-dir:FOLDER image.train.epochs=8
    python -m benchmarks.tune drawn --seeds 3 image.model=test_resnet image.pretrained=false image.size=128 \
        image.train.epochs=24 image.workers=0

`drawn` stands for drawn pictures of `image.size`: 1,800 to train on, 3,000 to test on.

Prints wall and processor seconds and test accuracy of each, and the ratios of the seconds. Processor seconds count
where the machine does other things too; with image.workers=0 they hold all of the work.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import plait
from plait.config import Config, configure
from plait.data.pairs import Pairs
from plait.data.read import read_as
from plait.encoders.image import LOCAL, create_model, data_config, normalise
from plait.pipeline.prepare import Preparation
from plait.training.encoders.images import Images, Rows, batches, stack

DRAWN, ROWS, UNSEEN = "drawn", 1800, 3000
KINDS = {"progressive": "true", "fixed size": "false"}


@dataclass(frozen=True)
class Tuning:
    """What one tuning took and reached."""

    wall: float
    processor: float
    accuracy: float


def main() -> None:
    """Tune twice for each seed and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="TRAIN TEST, or: drawn")
    parser.add_argument("--seeds", type=int, default=1)
    arguments, rest = parser.parse_known_args()
    tables, overrides = arguments.tables[:2], [*arguments.tables[2:], *rest]
    if tables[0] == DRAWN:
        tables, overrides = [DRAWN], [*tables[1:], *overrides]
    found: dict[str, list[Tuning]] = {name: [] for name in KINDS}
    for seed in range(arguments.seeds):
        for name, kind in KINDS.items():
            config = configure(overrides=[*overrides, f"image.train.progressive={kind}", f"seed={seed}"])
            rows = draw(config) if tables == [DRAWN] else [read_as(table, config) for table in tables]
            one = tune(rows[0], rows[1], config)
            found[name].append(one)
            seconds = f"{one.wall:7.1f} s, of processors {one.processor:7.1f} s"
            print(f"seed {seed}  {name:<12} {seconds}   test {one.accuracy:.2%}", flush=True)
    for name, tunings in found.items():
        accuracies = [100 * one.accuracy for one in tunings]
        spread = f" ± {statistics.stdev(accuracies):.2f}" if len(tunings) > 1 else ""
        print(f"{name:<12} {statistics.mean(accuracies):.2f}{spread} % of {len(tunings)} seeds")
    wall, processor = (
        sum(getattr(one, what) for one in found["progressive"]) / sum(getattr(one, what) for one in found["fixed size"])
        for what in ("wall", "processor")
    )
    print(f"progressive took {wall:.2f} of the time of fixed-size training, {processor:.2f} of its processor time")


def draw(config: Config) -> list[Pairs]:
    """Pictures to train on and to test on, the same for every seed."""
    pairs = plait.draw(rows=ROWS + UNSEEN, size=config.image.size or 128)
    order = np.random.default_rng(0).permutation(len(pairs))
    return [pairs.select(np.sort(part)) for part in (order[:ROWS], order[ROWS:])]


def tune(pairs: Pairs, test: Pairs, config: Config) -> Tuning:
    """A tuning, and the accuracy of the network with its classifier on the test rows."""
    prepared, busy = Preparation(pairs, config, ("image",)), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        facts = prepared.tuner.tune("image", Path(folder) / "tuned")
        busy = time.process_time() - busy
        model = create_model(f"{LOCAL}{folder}/tuned", pretrained=True).eval()
    settings = data_config(model)
    data = Rows(test, prepared.tuner.targets(test))
    right = 0
    with torch.inference_mode():
        for pixels, index in batches(Images(data, settings), range(len(test)), 128, None, stack, training=False):
            right += int((model(normalise(pixels, settings)).argmax(1) == data.targets[index]).sum())
    for epoch in facts["curve"]:
        print("  ", {key: float(np.round(value, 4)) for key, value in epoch.items()}, flush=True)
    return Tuning(facts["seconds"], busy, right / len(test))


if __name__ == "__main__":
    main()
