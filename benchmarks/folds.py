"""Whether fusion is above the better modality, asked of every training row.

    python -m benchmarks.folds TABLE image.model=lite0+lite2

A test set of a thousand rows cannot tell a gain of half a point from chance. Here each row of the table is a test row
once: it is divided into `FOLDS` parts, classes shared out evenly, and each part is answered by `plait.compare` of the
others. Differences have 95 % intervals by resampling rows and McNemar's exact p.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.model_selection import StratifiedKFold

import plait
from plait.data.checks import require_labels
from plait.data.read import read_as
from plait.fusion.modality import MODALITIES
from plait.fusion.spec import MODELS
from plait.report.uncertainty import p_words, paired

FOLDS = 5


def main() -> None:
    """Print each fold's accuracies, those of all rows, and both fusions beside each modality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    arguments, overrides = parser.parse_known_args()
    config = plait.configure("quick", overrides=overrides)
    right = _right(read_as(arguments.table, config), config)
    _tell("all rows", right)
    for fusion in ("late", "early"):
        for modality in MODALITIES:
            found = paired(right[fusion], right[modality])
            low, high = (100 * end for end in found.interval)
            print(
                f"{fusion} - {modality}: {100 * found.difference:+.2f} points [{low:.2f}, {high:.2f}], "
                f"{found.only_first} rows won and {found.only_second} lost, {p_words(found.p)}"
            )
    either = np.any([right[modality] for modality in MODALITIES], axis=0)
    print(f"either modality right: {100 * either.mean():.2f} %")


def _right(pairs: plait.Pairs, config: plait.Config) -> dict[str, np.ndarray]:
    """Which rows (N,) each model answers right that learnt from the other folds."""
    parts = StratifiedKFold(FOLDS, shuffle=True, random_state=config.seed)
    folds: list[dict[str, np.ndarray]] = []
    for rest, part in parts.split(np.zeros(len(pairs)), require_labels(pairs)):
        found = plait.compare(pairs.select(rest), test=pairs.select(part), config=config)
        folds.append({name: found.models[name].probabilities.argmax(1) == found.targets for name in MODELS})
        _tell(f"fold {len(folds)}", folds[-1])
    return {name: np.concatenate([fold[name] for fold in folds]) for name in MODELS}


def _tell(what: str, right: dict[str, np.ndarray]) -> None:
    said = ", ".join(f"{name} {100 * rows.mean():.2f}" for name, rows in right.items())
    print(f"{what} ({len(next(iter(right.values())))}): {said}", flush=True)


if __name__ == "__main__":
    main()
