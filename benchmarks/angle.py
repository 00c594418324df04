"""AnglE's objectives alone and together: the tables of docs/angle.md.

    python -m benchmarks.angle classes TRAIN TEST --seeds 3 --rows 6000 text.train.epochs=2
    python -m benchmarks.angle pairs stsb_train.tsv stsb_dev.tsv --seeds 5

`classes` tunes on labelled rows and prints the test accuracy of a linear head on the tuned features; `pairs` tunes on
scored pairs of texts and prints the Spearman correlation on others. A row is printed as soon as it is measured.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import combinations

from benchmarks.probing import open_network, probe, read_tables
from plait.config import Config, configure
from plait.data.text_pairs import hold_out, read_text_pairs
from plait.encoders.text import SentenceEncoder
from plait.training.encoders.text import tune_text
from plait.training.encoders.text_pairs import spearman, tune_text_pairs

TERMS = ("cosine", "in_batch", "angle")
PAPER = "text.train.angle.form=paper"
Measure = Callable[[Config, bool], float]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("classes", "pairs"))
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, help="of TRAIN, drawn at random; default: all")
    parser.add_argument("--only", nargs="*", help="names of the rows wanted")
    arguments, overrides = parser.parse_known_args()
    measure = (on_classes if arguments.kind == "classes" else on_pairs)(arguments, overrides)
    for name, extra in variants(arguments.kind == "classes"):
        if arguments.only and name not in arguments.only:
            continue
        start, found = time.perf_counter(), []
        for seed in range(arguments.seeds if name != "frozen" else 1):
            config = configure(overrides=[*overrides, *extra, f"seed={seed}"])
            found.append(100 * measure(config, name == "frozen"))
        spread = f"± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
        seconds = (time.perf_counter() - start) / len(found)
        print(
            f"{name:<36} {statistics.mean(found):6.2f} {spread:<7} {len(found)} seeds, {seconds:.0f} s each", flush=True
        )


def variants(classes: bool) -> Iterator[tuple[str, list[str]]]:
    """Name and configuration of each row."""

    def only(*terms: str) -> list[str]:
        return [f"text.train.angle.{name}=0" for name in TERMS if name not in terms]

    yield "frozen", []
    if classes:
        yield "cross-entropy", only()
    alone = ["text.train.classify=0"]
    for count in (1, 2, 3):
        for terms in combinations(TERMS, count):
            yield " + ".join(terms), [*only(*terms), *alone]
    yield "angle, paper form", [*only("angle"), *alone, PAPER]
    yield "all, angle in paper form", [*alone, PAPER]
    yield "all, equal weights", [*(f"text.train.angle.{name}=1" for name in TERMS), *alone]
    if classes:
        yield "cross-entropy + all", []


def on_classes(arguments: argparse.Namespace, overrides: list[str]) -> Measure:
    """Test accuracy of a linear head, 0 to 1."""
    tables = read_tables(arguments.train, arguments.test, configure(overrides=overrides), arguments.rows)
    rows = [(part.texts, part.targets) for part in (tables.train, tables.val)]

    def measure(config: Config, frozen: bool) -> float:
        if frozen:
            return probe(open_network(config), tables, config.seed)
        tuned = tune_text(rows[0], rows[1], tables.classes, config.text, seed=config.seed).encoder
        encoder = SentenceEncoder(tuned.model, tuned.name, tuned.prompt, tuned.batch, config.text.precision)
        return probe(encoder, tables, config.seed)

    return measure


def on_pairs(arguments: argparse.Namespace, overrides: list[str]) -> Measure:
    """Spearman correlation on the pairs of TEST; epochs are chosen on pairs held out from TRAIN."""
    pairs, test = read_text_pairs(arguments.train), read_text_pairs(arguments.test)
    assert pairs is not None
    assert test is not None

    def measure(config: Config, frozen: bool) -> float:
        if frozen:
            return spearman(open_network(config), test)
        train, val = hold_out(pairs, config.data.val_fraction, config.seed)
        return spearman(tune_text_pairs(train, val, config.text, seed=config.seed).encoder, test)

    return measure


if __name__ == "__main__":
    main()
