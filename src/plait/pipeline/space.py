"""`plait tune joint`: from pairs to a joint space, in which pictures find texts and texts pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.config import Config
from plait.data.pairs import Pairs
from plait.data.partition import Partition
from plait.data.sketch import Sketch
from plait.data.unreadable import Tally
from plait.devices import pick_device
from plait.encoders.image import kept_image_encoder
from plait.encoders.pair import EncoderPair
from plait.encoders.text import load_text_encoders
from plait.errors import ConfigError, DataError, option, setting
from plait.features.encode import encode
from plait.features.sizing import sized
from plait.features.store import FeatureStore
from plait.files import require_free
from plait.fusion.inputs import HeadInputs
from plait.fusion.modality import MODALITIES
from plait.fusion.ranks import both_ways
from plait.inference.engine import Engine
from plait.inference.torch_head import to_inputs
from plait.pipeline.provenance import provenance
from plait.runs.folder import save_space
from plait.runs.open import labels_nothing
from plait.training.encoders.tuner import pretuned
from plait.training.space import SpaceRows, embedded, fit_space

LEAST = 10  # rows with both sides


def tune_space(parts: Partition, config: Config, folder: Path, overwrite: bool = False) -> dict[str, Any]:
    """Train a joint space on the pairs of a partition that have both an image and a text, into a folder.

    Returns:
        What the folder says of it: ``rows``, ``curve``, ``seconds``, and, where there are test rows, ``own`` and (with
        labels) ``class``: how well they find their own other side, and one of their class; see `both_ways`.

    Raises:
        RunError: the folder is not free. DataError: too few rows with both. ConfigError: an encoder is to be tuned.
    """
    start = time.perf_counter()
    require_free(folder, overwrite)
    for modality in MODALITIES:
        if getattr(config, modality).tune:
            first = f"plait tune {modality}"
            raise ConfigError(
                f"{modality}.tune: a joint space learns on features; tune the encoder first by {first}, and give its "
                f"folder by {setting(f'{modality}.model=FOLDER')}"
            )
    engine = engine_of(parts, config)
    features = Embedder(engine, FeatureStore(config.store))
    rows = {name: features.rows(pairs) for name, pairs in (("training", parts.train), ("validation", parts.val))}
    for name, some in rows.items():
        if len(some) < LEAST:
            raise DataError(
                f"{parts.train.source}: {len(some)} {name} rows have both an image and a text, fewer than {LEAST}; "
                f"give more, or another {option('--val', 'val')}"
            )
    device = pick_device(config.device)
    fitted = fit_space(rows["training"], rows["validation"], config.space, seed=config.seed, device=device)
    facts: dict[str, Any] = {
        "columns": parts.train.taken,
        "note": f"joint space of {config.space.dim} dimensions, {config.space.loss}",
        "rows": {name: len(some) for name, some in rows.items()},
        "same_class": fitted.same_class,
        "curve": fitted.curve,
    }
    if parts.test is not None:
        test = features.rows(parts.test)
        facts["rows"]["test"] = len(test)
        facts |= measured(embedded(fitted.space, test.inputs), test, config.seed)
    facts["seconds"] = round(time.perf_counter() - start, 3)
    engine.metrics = facts
    save_space(engine, fitted.space, folder, overwrite)
    return facts


class Embedder:
    """Features of rows that have both sides, and which of them are equal."""

    def __init__(self, engine: Engine, store: FeatureStore):
        self.engine, self.store = engine, store
        self.tally = Tally(engine.config.data.strict)
        self._numbers: dict[Any, int] = {}

    def rows(self, pairs: Pairs) -> SpaceRows:
        """The rows of some pairs that have an image that can be read, and a text."""
        found = to_inputs(encode(self.engine.encoders, pairs, self.engine.config.image, self.store, self.tally))
        both = torch.stack([found.present[s] for s in MODALITIES]).all(0).nonzero().flatten()
        inputs: HeadInputs = found.rows(both)
        kept = pairs.select(both.numpy())
        return SpaceRows(
            inputs,
            (self._keys("text", kept.text_hashes), self._keys("image", kept.image_keys)),
            self._keys("class", kept.labels),
        )

    def _keys(self, kind: str, values: list[Any]) -> Tensor:
        """(N,) numbers, equal for equal values; -1 for none."""
        numbers = self._numbers
        return torch.tensor(
            [-1 if value is None else numbers.setdefault((kind, value), len(numbers)) for value in values],
            dtype=torch.int64,
        )


def measured(found: dict[str, np.ndarray], rows: SpaceRows, seed: int) -> dict[str, Any]:
    """How well rows find their own other side, where equal texts are one answer, and one of their class."""
    ways = {"own": both_ways(found["image"], found["text"], rows.contents[0].numpy(), seed)}
    labelled = (rows.classes >= 0).numpy()
    if labelled.any():
        keys = rows.classes.numpy()[labelled]
        ways["class"] = both_ways(found["image"][labelled], found["text"][labelled], keys, seed)
    return ways


def engine_of(parts: Partition, config: Config) -> Engine:
    """The encoders, as an engine that only encodes."""
    device, taken = pick_device(config.device), provenance(config)
    texts = lambda: [text for text in parts.train.texts if text is not None]  # noqa: E731
    encoders = EncoderPair(
        kept_image_encoder([sized(one, parts.train) for one in config.image.members], device, None),
        load_text_encoders(config.text, texts, device, config.seed),
    )
    seen = Sketch.of(parts.train, [parts.val], MODALITIES)
    for one in pretuned(config, MODALITIES).values():
        seen |= one.sketch
    return Engine(encoders, labels_nothing, [], "space", config, sketches={"": seen}, provenance=taken)
