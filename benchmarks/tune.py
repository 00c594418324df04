"""Progressive learning against fixed-size training: same rows, same epochs, one after the other in one run.

    python -m benchmarks.tune TRAIN TEST image.model=local-dir:FOLDER image.train.epochs=8
    python -m benchmarks.tune drawn image.model=test_resnet image.pretrained=false image.size=128 \
        image.train.epochs=24 image.workers=0

`drawn` stands for 2,400 drawn pictures of `image.size`, a quarter of them for testing.

Prints wall and processor seconds and test accuracy of each, and the ratios of the seconds. Processor seconds count
where the machine does other things too; with image.workers=0 they hold all of the work.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import plait
from plait.config import Config, configure
from plait.data.pairs import Pairs
from plait.data.read import read_as
from plait.encoders.image import LOCAL, create_model, data_config, normalise
from plait.preparing import Preparation
from plait.tuning.images import Images, Rows, batches, stack

DRAWN, ROWS = "drawn", 2400


def main() -> None:
    """Tune twice and print a table."""
    train, *overrides = sys.argv[1:]
    test = overrides.pop(0) if train != DRAWN else None
    rows = []
    for kind in ("true", "false"):
        config = configure(overrides=[*overrides, f"image.train.progressive={kind}"])
        pairs, unseen = draw(config) if test is None else (read_as(train, config), read_as(test, config))
        busy = time.process_time()
        seconds, accuracy = tune(pairs, unseen, config)
        rows.append((seconds, time.process_time() - busy))
        name = "progressive" if kind == "true" else "fixed size"
        print(f"{name:<12} {seconds:7.1f} s, of processors {rows[-1][1]:7.1f} s   test {accuracy:.2%}", flush=True)
    wall, busy = (one / other for one, other in zip(*rows, strict=True))
    print(f"progressive took {wall:.2f} of the time of fixed-size training, {busy:.2f} of its processor time")


def draw(config: Config) -> tuple[Pairs, Pairs]:
    """Pictures to train on and to test on, the same for every seed."""
    pairs = plait.draw(rows=ROWS, size=config.image.size or 128)
    order = np.random.default_rng(0).permutation(ROWS)
    return pairs.select(np.sort(order[: ROWS * 3 // 4])), pairs.select(np.sort(order[ROWS * 3 // 4 :]))


def tune(pairs: Pairs, test: Pairs, config: Config) -> tuple[float, float]:
    """Wall seconds of a tuning, and the accuracy of the network with its classifier on the test rows."""
    prepared = Preparation(pairs, config, ("image",))
    with tempfile.TemporaryDirectory() as folder:
        facts = prepared.tuner.tune("image", Path(folder) / "tuned")
        model = create_model(f"{LOCAL}{folder}/tuned", pretrained=True).eval()
    settings = data_config(model)
    data = Rows(test, prepared.tuner.targets(test))
    right = 0
    with torch.inference_mode():
        for pixels, index in batches(Images(data, settings), range(len(test)), 128, None, stack, training=False):
            right += int((model(normalise(pixels, settings)).argmax(1) == data.targets[index]).sum())
    for epoch in facts["curve"]:
        print("  ", {key: float(np.round(value, 4)) for key, value in epoch.items()}, flush=True)
    return facts["seconds"], right / len(test)


if __name__ == "__main__":
    main()
