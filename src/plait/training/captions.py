"""Training a captioner: what predicts the next word best is kept by what captions validation images best."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.captions.decoder import END, PAD, DecoderCaptioner, as_tokens
from plait.captions.pretrained import PretrainedCaptioner
from plait.captions.score import Score, score
from plait.config import CaptionConfig
from plait.files import replacing
from plait.progress import bar, say
from plait.training.seeds import Curve, seeded, warm_cosine

CLIP = 1.0  # largest norm of a gradient
MORE = 0.02  # share of distinct captions; who says that much more is learning
SURE = 2  # epochs in a row with collapsed captions, after which a training stops


class Pupil(Protocol):
    """A captioner being taught."""

    @property
    def module(self) -> nn.Module: ...

    def __len__(self) -> int: ...

    def loss(self, rows: Sequence[int]) -> Tensor: ...

    def captions(self) -> list[str]: ...


@dataclass
class DecoderPupil:
    """A decoder: features (N, D) and texts to learn from, and features (M, D) to be judged by."""

    captioner: DecoderCaptioner
    features: Tensor
    texts: Sequence[str]
    val_features: np.ndarray
    config: CaptionConfig
    _tokens: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = as_tokens(self.captioner.tokenizer, self.texts, self.config.max_tokens)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def module(self) -> nn.Module:
        return self.captioner.decoder

    def loss(self, rows: Sequence[int]) -> Tensor:
        """Mean cross-entropy of the next token."""
        device = next(self.module.parameters()).device
        wanted = self._tokens[list(rows)]
        wanted = wanted[:, : int((wanted != PAD).sum(1).max())].to(device)
        given = torch.cat([torch.full_like(wanted[:, :1], END), wanted[:, :-1]], 1)
        logits = self.captioner.decoder(self.features[list(rows)].to(device), given)
        return F.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD, label_smoothing=self.config.label_smoothing
        )

    def captions(self) -> list[str]:
        return self.captioner.of_features(self.val_features)


@dataclass
class PretrainedPupil:
    """A GIT or BLIP: what opens an image by its row, texts, and rows to be judged by."""

    captioner: PretrainedCaptioner
    opened: Callable[[int], Any]
    texts: Sequence[str]
    val_opened: Callable[[int], Any]
    val_rows: int

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def module(self) -> nn.Module:
        module: nn.Module = self.captioner.model
        return module

    def loss(self, rows: Sequence[int]) -> Tensor:
        """Mean cross-entropy of the next token."""
        return self.captioner.loss([self.opened(row) for row in rows], [self.texts[row] for row in rows])

    def captions(self) -> list[str]:
        return self.captioner.caption([self.val_opened(row) for row in range(self.val_rows)])


@dataclass(frozen=True)
class Lessons:
    """How a pupil is taught.

    Attributes:
        epochs: at most. lr: at its highest. val_texts: (M,) that people wrote of the images it is judged by.
        checkpoint: file to go on from where it exists, written after every epoch.
        silent: epochs that a network from random weights may take until it says different things of different images:
            till then it is neither taken to have collapsed nor stopped while it says ever more.
    """

    config: CaptionConfig
    epochs: int
    lr: float
    val_texts: Sequence[str]
    seed: int = 0
    checkpoint: Path | None = None
    silent: int = 0


@dataclass
class _State:
    """What a training has come to."""

    epoch: int = 0
    curve: Curve = field(default_factory=list)
    best: float = -1.0
    waited: int = 0
    collapsed: int = 0
    spoken: bool = False
    distinct: float = 0.0
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Taught:
    """A learning curve (``train_loss``, ``val_cider``, ``val_distinct``), the last word on it, and wall seconds."""

    curve: Curve
    score: Score
    seconds: float


def teach(pupil: Pupil, lessons: Lessons) -> Taught:
    """Train by the next word, and keep the weights whose captions have the best CIDEr on validation images.

    It ends when that gets no better for ``patience`` epochs, and when captions stay collapsed: then with an alarm. It
    goes on from its checkpoint, and ends with the weights it would have ended with.
    """
    start, config = time.perf_counter(), lessons.config
    trained = [one for one in pupil.module.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lessons.lr, weight_decay=config.weight_decay)
    steps = max(1, -(-len(pupil) // config.batch)) * lessons.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps))
    state = _resumed(pupil, optimiser, schedule, lessons)
    found = None
    with bar("tune captioner", lessons.epochs) as advance:
        advance(state.epoch)
        while state.epoch < lessons.epochs and state.waited < config.patience and state.collapsed < SURE:
            with seeded(lessons.seed * 100_003 + state.epoch):
                loss = _epoch(pupil, optimiser, schedule, config.batch)
            pupil.module.eval()
            found = score(pupil.captions(), lessons.val_texts)
            _note(state, pupil, found, loss, lessons)
            _keep(state, pupil, optimiser, schedule, lessons)
            advance(1)
    if state.weights:
        pupil.module.load_state_dict(state.weights)
    pupil.module.eval()
    last = score(pupil.captions(), lessons.val_texts)
    if last.collapsed:
        say(f"warning: {last.alarm(lessons.lr)}")
    return Taught(state.curve, last, time.perf_counter() - start)


def _epoch(pupil: Pupil, optimiser: Any, schedule: Any, batch: int) -> float:
    pupil.module.train()
    total, order = 0.0, np.random.permutation(len(pupil))  # noqa: NPY002 - seeded by the caller
    for rows in np.array_split(order, max(1, -(-len(pupil) // batch))):
        loss = pupil.loss(rows.tolist())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(pupil.module.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        total += loss.item() * len(rows)
    return total / len(pupil)


def _note(state: _State, pupil: Pupil, found: Score, loss: float, lessons: Lessons) -> None:
    """Write an epoch down, and remember its weights where its captions are the best so far."""
    state.epoch += 1
    known = {"train_loss": loss, "val_cider": found.cider, "val_distinct": found.distinct}
    state.curve.append({"epoch": state.epoch, **known})
    state.collapsed = state.collapsed + 1 if found.collapsed else 0
    state.waited += 1
    worth = found.cider - (10 if found.collapsed else 0)  # the best of collapsed ones only where there is no other
    if worth > state.best or not state.weights:
        state.best, state.waited = worth, 0
        state.weights = copy.deepcopy(pupil.module.state_dict())
    if state.epoch < lessons.silent and (not state.spoken or found.distinct > state.distinct + MORE):
        state.waited = state.collapsed = 0  # it is still learning to tell images apart
    state.spoken = state.spoken or not found.collapsed
    state.distinct = max(state.distinct, found.distinct)
    say(
        f"tune captioner: epoch {state.epoch} of {lessons.epochs}, loss {loss:.3f}, validation "
        f"CIDEr {found.cider:.3f}, {100 * found.distinct:.0f} % of captions distinct"
    )


def _keep(state: _State, pupil: Pupil, optimiser: Any, schedule: Any, lessons: Lessons) -> None:
    if lessons.checkpoint is None:
        return
    content = vars(state) | {
        "module": pupil.module.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(),
    }  # fmt: skip
    with replacing(lessons.checkpoint) as part:
        torch.save(content, part)


def _resumed(pupil: Pupil, optimiser: Any, schedule: Any, lessons: Lessons) -> _State:
    if lessons.checkpoint is None or not lessons.checkpoint.is_file():
        return _State()
    kept = torch.load(lessons.checkpoint, map_location="cpu", weights_only=True)
    pupil.module.load_state_dict(kept.pop("module"))
    optimiser.load_state_dict(kept.pop("optimiser"))
    schedule.load_state_dict(kept.pop("schedule"))
    say(f"tune captioner: goes on after epoch {kept['epoch']} of {lessons.epochs}")
    return _State(**kept)
