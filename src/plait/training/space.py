"""Training a joint space: two towers on stored features, by a symmetric contrastive loss, in seconds on a processor."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from plait.config import SpaceConfig
from plait.fusion.inputs import HeadInputs
from plait.fusion.modality import MODALITIES
from plait.fusion.ranks import CUTS, ranks
from plait.fusion.space import JointSpace, SpaceSpec
from plait.progress import bar
from plait.training.heads.descent import AdamW, Best
from plait.training.objectives.contrastive import info_nce, same, sigmoid
from plait.training.seeds import Curve, seeded, warm_cosine

HIGHEST = 100.0  # scale of the logits, as in CLIP
BIAS = -10.0  # that the sigmoid starts with, as in SigLIP: most pairs do not belong together


@dataclass(frozen=True)
class SpaceRows:
    """Rows that have both modalities: features, and (N,) int64 keys that say which rows are equal.

    Attributes:
        contents: of texts, and of images: equal for equal ones, which are then no false negatives.
        classes: -1 for a row without a label.
    """

    inputs: HeadInputs
    contents: tuple[Tensor, Tensor]
    classes: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class FittedSpace:
    """A trained space, its learning curve, the wall seconds it took, and what rows of one class were to each other."""

    space: JointSpace
    curve: Curve
    seconds: float
    same_class: str


class Objective(nn.Module):
    """The loss of a batch, with its own scale (and bias, for the sigmoid)."""

    def __init__(self, config: SpaceConfig):
        super().__init__()
        self.config = config
        self.log_scale = nn.Parameter(torch.tensor(1 / config.temperature).log())
        self.bias = nn.Parameter(torch.tensor(BIAS))

    def forward(self, embedded: Mapping[str, Tensor], contents: tuple[Tensor, Tensor], classes: Tensor) -> Tensor:
        """``embedded[s]`` (B, D), keys (B,) -> the mean loss of the rows."""
        positive = same(contents)
        counted = torch.ones_like(positive)
        if self.config.same_class != "negative":
            alike = same([classes])
            if self.config.same_class == "positive":
                positive = positive | alike
            else:
                counted = ~alike
        scale, sides = self.log_scale.exp().clamp_max(HIGHEST), (embedded["image"], embedded["text"])
        if self.config.loss == "sigmoid":
            return sigmoid(*sides, positive, counted, scale, self.bias, self.config.hard).mean()
        return info_nce(*sides, positive, counted, scale, self.config.hard).mean()


def fit_space(
    train: SpaceRows, val: SpaceRows, config: SpaceConfig, *, seed: int = 0, device: torch.device | str = "cpu"
) -> FittedSpace:  # fmt: skip
    """Train both towers; those of the epoch that finds best among the validation rows are kept.

    Epoch 0 is where they begin, at regularised CCA.

    Args:
        train, val: rows with both modalities; what is right for a validation row is as of `validated`.
    """
    if config.same_class == "auto":
        labelled = bool((train.classes >= 0).any())
        choices = [config.model_copy(update={"same_class": one}) for one in ("negative", *(["mask"] * labelled))]
        fitted = [fit_space(train, val, one, seed=seed, device=device) for one in choices]
        best_one = max(fitted, key=lambda one: max(epoch["val_recall"] for epoch in one.curve))
        return replace(best_one, seconds=sum(one.seconds for one in fitted))
    start = time.perf_counter()
    dims = {modality: train.inputs.features[modality].shape[1] for modality in MODALITIES}
    curve: Curve = []
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed), bar("train a joint space", config.epochs) as advance:
        space = JointSpace(SpaceSpec(dims, config.dim, config.hidden, config.dropout))
        space.prepare({s: x[:] for s, x in train.inputs.features.items()})
        network = nn.ModuleList([space, Objective(config)]).to(device)
        optimiser = AdamW(network.parameters(), config.weight_decay)
        best = Best(optimiser.weights)
        steps = max(1, len(train) // config.batch) * config.epochs
        curve.append({"epoch": 0, "val_recall": validated(space.eval(), val, config, device)})
        best.see(-curve[0]["val_recall"])
        while len(curve) <= config.epochs and not _over(curve, config.patience):
            network.train()
            total, order = 0.0, torch.randperm(len(train), generator=generator)
            for rows in order.tensor_split(max(1, len(train) // config.batch)):
                loss = _loss(network, train, rows, device)
                optimiser.step(loss, config.lr * warm_cosine(optimiser.steps, steps))
                total += loss.item() * len(rows)
            known = {"train_loss": total / len(train), "val_recall": validated(space.eval(), val, config, device)}
            curve.append({"epoch": len(curve), **known})
            best.see(-known["val_recall"])
            advance(1)
        best.restore()
    return FittedSpace(space.cpu().eval(), curve, time.perf_counter() - start, config.same_class)


def embedded(space: JointSpace, inputs: HeadInputs, device: torch.device | str = "cpu") -> dict[str, np.ndarray]:
    """(N, dim) embeddings of some rows by modality."""
    with torch.inference_mode():
        features = {s: x[:].to(device) for s, x in inputs.features.items()}
        found = space.embed(features, {s: x.to(device) for s, x in inputs.present.items()})
        return {s: x.cpu().numpy() for s, x in found.items()}


def validated(space: JointSpace, val: SpaceRows, config: SpaceConfig, device: torch.device | str = "cpu") -> float:
    """The mean of recall@1, 5 and 10 in both directions.

    Right is what has the same text, or, where rows of one class are trained to be near (``same_class: positive``), the
    same class.
    """
    found = embedded(space, val.inputs, device)
    keys = (val.classes if config.same_class == "positive" else val.contents[0]).numpy()
    both = [ranks(found[a], found[b], keys, keys) for a, b in (("image", "text"), ("text", "image"))]
    return float(np.mean([(one <= cut).mean() for one in both for cut in CUTS]))


def _loss(network: nn.ModuleList, rows: SpaceRows, picked: Tensor, device: torch.device | str) -> Tensor:
    inputs = rows.inputs.rows(picked)
    features = {s: x.to(device) for s, x in inputs.features.items()}
    present = {s: x.to(device) for s, x in inputs.present.items()}
    texts, images = (keys[picked].to(device) for keys in rows.contents)
    found: Tensor = network[1](network[0].embed(features, present), (texts, images), rows.classes[picked].to(device))  # type: ignore[operator]
    return found


def _over(curve: Curve, patience: int) -> bool:
    """Whether no epoch of the last `patience` found better than the ones before."""
    best = max(range(len(curve)), key=lambda i: curve[i]["val_recall"], default=0)
    return len(curve) - 1 - best >= patience
