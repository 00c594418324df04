"""What fitted models cost: the encoders that they read, and their heads; the best model within a budget."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from plait.encoders.base import ImageEncoder, TextEncoder
from plait.encoders.image import folder_of
from plait.encoders.pair import EncoderPair
from plait.errors import ConfigError, option, setting
from plait.features.costs import Cost, alone_seconds, evenly
from plait.features.encode import encode_images, encode_texts
from plait.features.store import FeatureStore
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.model import Model
from plait.fusion.spec import modalities_of
from plait.pipeline.prepare import Preparation
from plait.processes import gathered
from plait.progress import say
from plait.training.encoders.folder import facts_of
from plait.training.heads.fitter import FittedModel

FEW, MANY = 32, 2048  # rows that an open encoder is measured on; rows that a head is


def cost_of(prepared: Preparation, fitted: FittedModel, inputs: HeadInputs) -> Cost | None:
    """What an answer of a model costs; None where a closed encoder was never measured on this machine.

    Args:
        inputs: some rows, one at least, as the model's head reads them.
    """
    read = _read_by(prepared, fitted)
    _measure(prepared, [one for one in _all(read) if getattr(one, "is_open", True)])
    found = head_cost(fitted.head, inputs)
    for encoder in _all(read):
        cost = prepared.store.costs.of(encoder)
        if cost is None:
            return None
        found += cost
    return found


def head_cost(head: Model, inputs: HeadInputs) -> Cost:
    """What a head alone costs, features given."""
    some = inputs.rows(slice(0, MANY))
    alone = alone_seconds([partial(logits, head, inputs.rows([row])) for row in evenly(range(len(some)))])
    start = time.perf_counter()
    logits(head, some)
    batched = (time.perf_counter() - start) / len(some)
    size = sum(tensor.nbytes for tensor in head.state_dict().values())
    return Cost(sum(one.numel() for one in head.parameters()), size, alone, batched)


def tuning_seconds(prepared: Preparation, fitted: FittedModel) -> float:
    """What tuning the encoders of a model took, now or before; 0 for encoders as they came."""
    read = _read_by(prepared, fitted)
    folders = (folder_of(one.name) for one in (*read.images, *read.text))
    return sum(float(facts.get("seconds", 0.0)) for folder in folders if (facts := facts_of(folder)))


def unmeasured(prepared: Preparation) -> list[str]:
    """Names of the encoders whose cost is not known."""
    return [one.name for one in _all(prepared.make_encoders()) if prepared.store.costs.of(one) is None]


def _read_by(prepared: Preparation, fitted: FittedModel) -> EncoderPair:
    """The encoders of a model."""
    found, modalities = fitted.encoders or prepared.make_encoders(), modalities_of(fitted.spec.model)
    return EncoderPair(found.image if "image" in modalities else None, found.text if "text" in modalities else [])


def _all(encoders: EncoderPair) -> list[ImageEncoder | TextEncoder]:
    return [*([encoders.image] if encoders.image is not None else []), *encoders.text]


def _measure(prepared: Preparation, encoders: Sequence[ImageEncoder | TextEncoder]) -> None:
    """Measure those of some open encoders whose cost is not known on a few rows, as if these were new."""
    unknown = [one for one in encoders if prepared.store.costs.of(one) is None]
    if not unknown:
        return
    rows = prepared.train_pairs.select(evenly(range(len(prepared.train_pairs)), FEW))
    with tempfile.TemporaryDirectory() as folder:
        scratch = FeatureStore(folder, shared=False)
        scratch.costs = prepared.store.costs
        for one in unknown:
            if one.modality == "image":
                encode_images(cast(ImageEncoder, one), rows, scratch)
            else:
                encode_texts([cast(TextEncoder, one)], rows, scratch)


@dataclass(frozen=True)
class Budget:
    """What an answer may cost: milliseconds of a row by itself, megabytes on disk; None: as much as it does."""

    ms: float | None = None
    mb: float | None = None

    def __bool__(self) -> bool:
        return self.ms is not None or self.mb is not None

    def __str__(self) -> str:
        parts = [] if self.ms is None else [option(f"--max-ms {self.ms:g}", f"max_ms={self.ms:g}")]
        parts += [] if self.mb is None else [option(f"--max-mb {self.mb:g}", f"max_mb={self.mb:g}")]
        return " and ".join(parts)

    def share(self, cost: Cost) -> float:
        """How much of the budget is used, by its scarcer part; above 1 it is too much."""
        parts = ((cost.milliseconds, self.ms), (cost.megabytes, self.mb))
        return max(used / limit for used, limit in parts if limit is not None)


def best_within(budget: Budget, losses: Mapping[str, float], costs: Mapping[str, Cost]) -> str:
    """The model of least loss among those within a budget.

    Raises:
        ConfigError: none is; the one that comes nearest is named.
    """
    fitting = [name for name in losses if budget.share(costs[name]) <= 1]
    if fitting:
        return min(fitting, key=lambda name: losses[name])
    nearest = min(losses, key=lambda name: budget.share(costs[name]))
    raise ConfigError(
        f"no model within {budget}; the nearest is {nearest} with {words(costs[nearest])}: allow more, or take smaller "
        f"encoders, as {setting('image.model=lite0')} and {setting('text.model=tfidf')}"
    )


def words(cost: Cost) -> str:
    """``12.3 ms a row, 105 MB``."""
    return f"{cost.milliseconds:.3g} ms a row, {cost.megabytes:.3g} MB"


def best_of(prepared: Preparation, fits: Mapping[str, FittedModel]) -> tuple[FittedModel, Cost | None]:
    """The model of least validation loss within the configured budget, and what it costs; None without a budget.

    Raises:
        ConfigError: none is within the budget.
    """
    losses = {name: fitted.val_loss for name, fitted in fits.items()}
    budget = Budget(prepared.config.max_ms, prepared.config.max_mb)
    if not budget:
        return fits[min(losses, key=lambda name: losses[name])], None
    rows = prepared.train_pairs.select(evenly(range(len(prepared.train_pairs)), FEW))
    costs = {}
    for name, fitted in fits.items():
        cost = cost_of(prepared, fitted, prepared.inputs_of(rows, fitted.encoders))
        assert cost is not None  # encoders are open here
        costs[name] = cost
        say(f"{name}: {words(cost)}{'' if budget.share(cost) <= 1 else ', over the budget'}")
    best = gathered(best_within(budget, losses, costs))[0]  # what one process measures another may not
    return fits[best], costs[best]
