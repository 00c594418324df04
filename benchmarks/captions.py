"""What captions give rows without a text: half of the texts hidden, a captioner trained on the other half.

    python -m benchmarks.captions TRAIN TEST --seeds 3

The classifier (late fusion) is fitted to the training rows with half of their texts hidden. Of every test row the text
is hidden; its answer is that of the image alone (blank), with captions for as much as `text.fill` found them worth, and
with captions taken for texts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plait.captions.folder import load_captioner
from plait.config import Config, configure
from plait.data.pairs import Pairs
from plait.data.partition import Partition, divide
from plait.features.store import FeatureStore
from plait.inference.fill import CAPTION, Fill
from plait.pipeline.captions import tune_caption
from plait.pipeline.classifier import Classifier


@dataclass(frozen=True)
class Found:
    """Of one seed: accuracies 0..1, CIDEr and share of distinct captions on the test rows, and the fitted weight."""

    blank: float
    filled: float
    plain: float
    cider: float
    distinct: float
    weight: float


def main() -> None:
    """Print a row a seed, and the mean differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--seeds", type=int, default=3)
    arguments, overrides = parser.parse_known_args()
    found = []
    for seed in range(arguments.seeds):
        config = configure("quick", overrides=["model=late", f"seed={seed}", *overrides])
        parts = divide(arguments.train, config, test=arguments.test)
        found.append(one := measure(_half(parts, seed), config))
        print(
            f"seed {seed}: CIDEr {one.cider:.3f}, {one.distinct:.0%} distinct; blank {one.blank:.2%}, filled "
            f"{one.filled:.2%} (weight {one.weight:g}), captions as texts {one.plain:.2%}",
            flush=True,
        )
    for what in ("filled", "plain"):
        gains = [100 * (getattr(one, what) - one.blank) for one in found]
        spread = f" ± {statistics.stdev(gains):.2f}" if len(gains) > 1 else ""
        print(f"{what} less blank: {statistics.mean(gains):+.2f}{spread} points")


def _half(parts: Partition, seed: int) -> Partition:
    """The texts of a random half of the rows hidden, of every test row too."""
    assert parts.test is not None
    rng = np.random.default_rng(seed)
    hidden = [_without(pairs, rng.random(len(pairs)) < 0.5) for pairs in (parts.train, parts.val)]
    return Partition(hidden[0], hidden[1], parts.test, parts.notes)


def _without(pairs: Pairs, rows: np.ndarray) -> Pairs:
    texts = [None if gone else text for gone, text in zip(rows, pairs.texts, strict=True)]
    return Pairs.from_columns(list(pairs.images()), texts, pairs.labels, source=pairs.source)


def measure(parts: Partition, config: Config) -> Found:
    """Train the captioner and the classifier, and answer the test rows in the three ways."""
    assert parts.test is not None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "captioner"
        facts = tune_caption(parts, config, out)
        text = config.text.model_copy(update={"fill": str(out)})
        classifier = Classifier(config.model_copy(update={"text": text})).fit(parts.train, val=parts.val)
        engine = classifier.require_fitted()
        weight = classifier.metrics_["fill"]["weight"]
        known = np.array([label in engine.labels for label in parts.test.labels])
        test = parts.test.select(np.flatnonzero(known))
        targets = np.array([engine.labels.index(str(label)) for label in test.labels])
        blank = _without(test, np.ones(len(test), bool))
        engine.fill = Fill(load_captioner(out), 1.0)
        features = engine.features(blank, FeatureStore(config.store))
        plain = engine.probabilities(features)
        engine.fill = Fill(engine.fill.captioner, weight)
        filled = engine.probabilities(features)
        alone = engine.probabilities({name: one for name, one in features.items() if name != CAPTION})
    right = [float((one.argmax(1) == targets).mean()) for one in (alone, filled, plain)]
    return Found(right[0], right[1], right[2], facts["test"]["cider"], facts["test"]["distinct"], weight)


if __name__ == "__main__":
    main()
