"""Pictures finding texts and texts finding pictures: a joint space against what takes no training of towers.

    python -m benchmarks.retrieval TRAIN TEST own text.model=minilm
    python -m benchmarks.retrieval TRAIN TEST class text.model=minilm space.same_class=positive

``own``: right is the row's own other side (equal texts are one answer); ``class``: any of its class. Three seeds draw
the validation rows and train; intervals are 95 % of Student's t. TEST is used once, at the end.

- joint: `plait tune joint`.
- regularised CCA: closed form, ridge and dimensions chosen on validation rows.
- scikit-learn's CCA: of 64 dimensions, on 128 principal components of each side; variates of unit variance, weighted by
  their correlations.
- plain cosine: features as they are, cut to as many principal components of each side as the smaller one has.
- text alone: a picture is searched by the text of the most similar training picture (cosine), and found by it.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from plait.config import Config, configure
from plait.data.partition import divide
from plait.features.sizing import sized
from plait.features.store import FeatureStore
from plait.fusion.modality import MODALITIES
from plait.fusion.ranks import CUTS, both_ways
from plait.fusion.space import canonical
from plait.pipeline.space import Embedder, engine_of
from plait.training.space import SpaceRows, embedded, fit_space

SEEDS = 3
STUDENT = 4.303  # of two degrees of freedom, 95 %
RIDGES, DIMS = (0.03, 0.1, 0.3, 1.0), (64, 128, 256)
Sides = dict[str, np.ndarray]  # (N, D) of each modality, of length 1
Way = dict[str, float]


def main() -> None:
    """Print a table, a line for each seed on standard error."""
    train, test, level, *overrides = sys.argv[1:]
    assert level in ("own", "class")
    found: dict[str, list[dict[str, Way]]] = {}
    for seed in range(SEEDS):
        config = configure(overrides=[*overrides, f"seed={seed}"])
        rows = _rows(config, train, test)
        for name, sides in _models(rows, config, level).items():
            found.setdefault(name, []).append(_measured(sides, rows["test"], level))
            print(seed, name, found[name][-1], file=sys.stderr, flush=True)
    for way in next(iter(found.values()))[0]:
        print(f"\n{way.replace('_', ' ')}, {level}")
        for name, seeds in found.items():
            print(f"{name:<18}", "  ".join(_cell([one[way] for one in seeds], value) for value in seeds[0][way]))
    for way in ("image_to_text", "text_to_image"):
        gains = [
            one[way]["recall@10"] - other[way]["recall@10"]
            for one, other in zip(found["joint"], found["regularised CCA"], strict=True)
        ]
        print(f"{way}: R@10 of joint less regularised CCA {_interval(gains, 100)}")


def _rows(config: Config, train: str, test: str) -> dict[str, SpaceRows]:
    parts = divide(train, config, test=test, labelled=False)
    assert parts.test is not None
    config = config.model_copy(update={"image": sized(config.image, parts.train)})
    features = Embedder(engine_of(parts, config), FeatureStore(config.store))
    return {"train": features.rows(parts.train), "val": features.rows(parts.val), "test": features.rows(parts.test)}


def _models(rows: dict[str, SpaceRows], config: Config, level: str) -> dict[str, Sides]:
    """The test rows in each space."""
    space = fit_space(rows["train"], rows["val"], config.space, seed=config.seed).space
    return {
        "joint": embedded(space, rows["test"].inputs),
        "regularised CCA": _regularised(rows, level),
        "scikit-learn CCA": _sklearn(rows),
        "plain cosine": _plain(rows),
        "text alone": _borrowed(rows),
    }


def _measured(sides: Sides, rows: SpaceRows, level: str) -> dict[str, Way]:
    keys = rows.contents[0] if level == "own" else rows.classes
    return both_ways(sides["image"], sides["text"], keys.numpy())


def _of(rows: SpaceRows) -> dict[str, np.ndarray]:
    return {s: rows.inputs.features[s].double().numpy() for s in MODALITIES}


def _standardised(rows: dict[str, SpaceRows]) -> dict[str, dict[str, np.ndarray]]:
    known = _of(rows["train"])
    mean, scale = ({s: f(x) for s, x in known.items()} for f in (lambda x: x.mean(0), lambda x: x.std(0) + 1e-3))
    return {name: {s: (x - mean[s]) / scale[s] for s, x in _of(some).items()} for name, some in rows.items()}


def _regularised(rows: dict[str, SpaceRows], level: str) -> Sides:
    known = _standardised(rows)
    both = [torch.from_numpy(known["train"][s]) for s in MODALITIES]
    best: tuple[float, Sides] = (-1.0, {})
    for ridge in RIDGES:
        maps = [one.double().numpy() for one in canonical(*both, max(DIMS), ridge)]
        for dim in DIMS:
            placed = {
                name: {s: _unit(some[s] @ map_[:, :dim]) for s, map_ in zip(MODALITIES, maps, strict=True)}
                for name, some in known.items()
            }
            ways = _measured(placed["val"], rows["val"], level)
            score = float(np.mean([ways[w][f"recall@{c}"] for w in ("image_to_text", "text_to_image") for c in CUTS]))
            best = max(best, (score, placed["test"]), key=lambda one: one[0])
    return best[1]


def _sklearn(rows: dict[str, SpaceRows], components: int = 128, dim: int = 64) -> Sides:
    from sklearn.cross_decomposition import CCA

    known = _components(rows, components)
    model = CCA(n_components=dim, max_iter=200).fit(known["train"]["image"], known["train"]["text"])
    fitted = model.transform(known["train"]["image"], known["train"]["text"])
    shares = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(fitted[0].T, fitted[1].T, strict=True)])
    placed = model.transform(known["test"]["image"], known["test"]["text"])
    return {s: _unit(x / y.std(0) * shares) for s, x, y in zip(MODALITIES, placed, fitted, strict=True)}


def _components(rows: dict[str, SpaceRows], number: int) -> dict[str, dict[str, np.ndarray]]:
    from sklearn.decomposition import PCA

    known = _standardised(rows)
    models = {s: PCA(number, random_state=0).fit(x) for s, x in known["train"].items()}
    return {name: {s: models[s].transform(x) for s, x in some.items()} for name, some in known.items()}


def _plain(rows: dict[str, SpaceRows]) -> Sides:
    widths = [rows["train"].inputs.features[s].shape[1] for s in MODALITIES]
    return {s: _unit(x) for s, x in _components(rows, min(widths))["test"].items()}


def _borrowed(rows: dict[str, SpaceRows]) -> Sides:
    train, test = ({s: _unit(x) for s, x in _of(rows[name]).items()} for name in ("train", "test"))
    nearest = (test["image"] @ train["image"].T).argmax(1)
    return {"image": train["text"][nearest], "text": test["text"]}


def _unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found


def _cell(ways: list[Way], value: str) -> str:
    numbers = [way[value] for way in ways]
    if value == "median_rank":
        return f"median {_interval(numbers, 1)}"
    return f"{value.replace('recall', 'R')} {_interval(numbers, 100)}"


def _interval(numbers: list[float], times: float) -> str:
    mean, spread = np.mean(numbers) * times, np.std(numbers, ddof=1) * times
    return f"{mean:5.1f} ± {STUDENT * spread / np.sqrt(len(numbers)):.1f}"


if __name__ == "__main__":
    main()
