"""A table of every network of a tiny space, trained on the drawn sample set: what samplers can be compared on.

    python -m benchmarks.search_table

Appends to benchmarks/search_table.csv what is not in it yet: choices, accuracy, parameters, and processor time of a
training step by that of the space's smallest network, measured in turns.
"""

from __future__ import annotations

import csv
import itertools
import time
from pathlib import Path

import numpy as np
import torch

import plait
from plait.config import configure
from plait.encoders.image import data_config
from plait.progress import bar
from plait.search.measure import Stepper, in_turns, params_of
from plait.search.proxy import Heritage, Proxy
from plait.search.space import WIDTHS, Choice, Space
from plait.training.encoders.images import Rows
from plait.training.seeds import seeded

TABLE = Path(__file__).with_suffix(".csv")
SIZE, TRAIN, VAL, EPOCHS = 32, 640, 1500, 4
SPACE = Space(
    (SIZE,), {name: WIDTHS[name] for name in ("b0/4", "b0/2")}, layers=((1,), (1, 2), (1,)), kernels=(3,),
    expansions=(1, 4),
)  # fmt: skip
# As many steps at as high a rate as tiny networks need to be told apart within seconds.
TRAINING = ("image.workers=0", "image.train.strength=0", "image.train.progressive=false", "image.train.lr=0.01")


def networks() -> list[dict[str, Choice]]:
    """The choices of every network."""
    names = SPACE.choices
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*names.values())]


def read_table() -> dict[tuple[Choice, ...], tuple[float, float, int]]:
    """Accuracy, step time and parameters by choices, in the order of the space's names."""
    if not TABLE.is_file():
        return {}
    numbers = {name for name, values in SPACE.choices.items() if isinstance(values[0], int)}
    found = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = tuple(int(row[name]) if name in numbers else row[name] for name in SPACE.choices)
            found[key] = (float(row["accuracy"]), float(row["step_ratio"]), int(row["params"]))
    return found


def drawn_rows() -> tuple[Rows, Rows, int]:
    """Rows to train on, rows to validate on, and the number of classes."""
    pairs = plait.draw(rows=TRAIN + VAL + 400, size=SIZE)
    pairs = pairs.select(np.flatnonzero(pairs.has_image)[: TRAIN + VAL])
    labels = sorted({label for label in pairs.labels if label is not None})
    targets = torch.tensor([labels.index(str(label)) for label in pairs.labels])
    parts = (np.arange(TRAIN), np.arange(TRAIN, TRAIN + VAL))
    train, val = (Rows(pairs.select(part), targets[part]) for part in parts)
    return train, val, len(labels)


def main() -> None:
    """Complete the table."""
    torch.set_num_threads(1)
    train, val, classes = drawn_rows()
    image = configure(overrides=list(TRAINING)).image
    device = torch.device("cpu")
    heritage = Heritage(data_config(SPACE.smallest.build(0), SIZE))
    proxy = Proxy(train, val, classes, image, heritage, EPOCHS, 0, device)
    stepper = Stepper(image.train, device, classes, time.process_time)
    done = read_table()
    todo = [choices for choices in networks() if tuple(choices.values()) not in done]
    with TABLE.open("a", encoding="utf-8", newline="") as file, bar("networks", len(todo)) as advance:
        writer = csv.writer(file, lineterminator="\n")
        if not done:
            writer.writerow([*SPACE.choices, "accuracy", "step_ratio", "params"])
        for choices in todo:
            network = SPACE.network(choices)
            with seeded(0):
                model, smallest = network.build(classes), SPACE.smallest.build(classes)
            own, other = in_turns(stepper.step(model, SIZE), stepper.step(smallest, SIZE), repeats=15)
            accuracy = proxy.accuracy(network, lambda epoch, found: None)
            writer.writerow([*choices.values(), round(accuracy, 4), round(own / other, 4), params_of(model)])
            file.flush()
            advance(1)


if __name__ == "__main__":
    main()
