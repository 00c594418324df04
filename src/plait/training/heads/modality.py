"""The head of one modality: its experts fitted, chosen among, and joined."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plait.config import Config
from plait.fusion.modality import ExpertSpec, ModalityHead, Part, Shape
from plait.training.heads.experts import ExpertFit, Rows, fit_linear, fit_mlp, tuned_with
from plait.training.heads.pools import Held, Taught, Way, choose, head_of, held_by
from plait.training.heads.task import TaskRows
from plait.training.seeds import seeded


@dataclass(frozen=True)
class ModalityFit:
    """The head of a modality, and what its experts say of the held-out rows that have the modality.

    Attributes:
        parts: of its features, with their scores. held_rows: (R,) numbers of the held-out rows that have it.
        cross: (R, K) cross-validated logits. fits: of the experts that were chosen.
    """

    head: ModalityHead
    specs: tuple[ExpertSpec, ...]
    parts: tuple[Part, ...]
    held: Held
    held_rows: Tensor
    cross: Tensor
    fits: list[ExpertFit]
    note: str
    seconds: float

    def excess(self, rows: TaskRows) -> float:
        """How much worse it does on new rows than on those its encoder has seen, as a share of the latter."""
        here = rows.task.train.present[self.head.modality]
        said = self.head.calibrated(torch.stack([one.train_logits for one in self.fits]))
        with torch.no_grad():
            answers = self.head.pool(said).argmax(1)
            new = (self.head.pool(self.held.log_probs).argmax(1) == self.held.answers.targets).float().mean().item()
        known = (answers[here] == rows.task.targets[here]).float().mean().item()
        return max(0.0, 1 - new / max(known, 1e-6))


def fit_modality(modality: str, rows: TaskRows, config: Config, device: torch.device | str = "cpu") -> ModalityFit:
    """Fit the experts of a modality, choose among them, and join them."""
    start = time.perf_counter()
    parts = rows.parts(modality)
    head = config.head
    shape = Shape({modality: parts}, rows.task.classes, head.kind, head.hidden, head.dropout)
    fits, ways = _experts(modality, shape, _expert_rows(modality, rows), config, device)
    held_inputs, answers = rows.held
    held_rows = held_inputs.present[modality].nonzero()[:, 0]
    known = rows.task.train.present[modality].nonzero()[:, 0]
    taught = Taught(known, rows.answers.select(known), rows.log_prior)
    held = held_by(fits, held_rows, answers.select(held_rows), taught)
    way, _, cross = choose(held, ways, config.seed)
    specs = tuple(fits[i].spec for i in way.experts)
    scored = {number for spec in specs for number in spec.scores}
    parts = tuple(replace(p, scores=shape.classes if i in scored else 0) for i, p in enumerate(parts))
    with seeded(config.seed):
        untrained = ModalityHead(modality, specs, replace(shape, parts={modality: parts}))
    return ModalityFit(
        head_of(untrained, way, held, fits, taught), specs, parts,
        replace(held, log_probs=held.log_probs[list(way.experts)]), held_rows, cross,
        [fits[i] for i in way.experts], way.name, time.perf_counter() - start + sum(fit.seconds for fit in fits),
    )  # fmt: skip


def _expert_rows(modality: str, rows: TaskRows) -> Rows:
    task = rows.task
    return Rows(
        task.train, task.val, rows.answers, rows.as_shared(task.val_targets),
        task.folds if rows.cross_fits else None, task.sparse if modality == "text" else {}, rows.further,
        modality in task.seen, task.kept, {} if task.val_seen else task.own.get(modality, {}),
    )  # fmt: skip


def _experts(
    modality: str, shape: Shape, rows: Rows, config: Config, device: torch.device | str
) -> tuple[list[ExpertFit], list[Way]]:
    """An MLP, or linear experts, and the ways to join them.

    These are one for each encoder, one for all side by side, and the classifiers that encoders were tuned with.
    """
    parts = shape.parts[modality]
    if config.head.kind == "mlp":
        return [fit_mlp(modality, shape, rows, config, device)], [Way(f"mlp head on {modality} features", (0,))]
    single = [ExpertSpec((), (i,)) if i in rows.sparse else ExpertSpec((i,)) for i in range(len(parts))]
    fits = [fit_linear(modality, spec, shape, rows) for spec in single]
    if len(parts) == 1:
        heads = f"linear head on {modality} features"
        ways = [Way(heads, (0,))]
    else:
        count, names = len(parts), ", ".join(part.name for part in parts)
        fits.append(fit_linear(modality, ExpertSpec(tuple(range(count))), shape, rows))
        ways = [Way(f"linear head on {part.name}", (i,)) for i, part in enumerate(parts)]
        ways.append(Way(f"linear head on {names} side by side", (count,)))
        heads = f"linear heads on {names} and all side by side"
        ways += _pools(heads, len(fits))
    if rows.own:
        owns = [f"the own classifier of {parts[i].name}" for i in rows.own]
        ways += [Way(own, (len(fits) + i,)) for i, own in enumerate(owns)]
        fits += [tuned_with(modality, number, shape, rows) for number in rows.own]
        ways += _pools(f"{heads}, and {', '.join(owns)}", len(fits))
    return fits, ways


def _pools(names: str, experts: int) -> list[Way]:
    """Both ways to join all of the first experts."""
    every = tuple(range(experts))
    return [Way(f"mean of {names}", every), Way(f"weighted pool of {names}", every, weighted=True)]
