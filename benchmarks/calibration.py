"""How far confidence can be believed where a modality is missing, and where rows are few.

    python -m benchmarks.calibration blanks TRAIN TEST
    python -m benchmarks.calibration few TRAIN TEST --rows 240 480 1500 --draws 5

`blanks` fits the four models on complete rows, hides images or texts of the test rows, and prints accuracy and expected
calibration error (ECE) of each model, and how far a fusion is from the single head of what is left. `few` fits them on
some of the training rows, drawn at random.

ECE is never 0 on some thousand rows: beside it stands what a model of the same confidences shows that is calibrated
perfectly, as the median and the 95th percentile of labels drawn from its own probabilities.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from plait.config import Config, configure
from plait.data.pairs import Pairs
from plait.data.partition import Partition, divide
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.modality import MODALITIES
from plait.fusion.spec import MODELS
from plait.pipeline.models import fit_model
from plait.pipeline.prepare import Preparation
from plait.report.metrics import calibration_error
from plait.training.heads.fitter import Fitter

SHARES = (0.1, 0.3, 0.5)
DRAWS = 200  # of labels, for what chance alone gives


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, run in (("blanks", blanks), ("few", few)):
        one = kinds.add_parser(name)
        one.add_argument("train")
        one.add_argument("test")
        one.set_defaults(run=run)
        if run is few:
            one.add_argument("--rows", type=int, nargs="+", default=[240, 480, 1500])
            one.add_argument("--draws", type=int, default=5)
    arguments, overrides = parser.parse_known_args()
    config = configure("quick", overrides=overrides)
    arguments.run(arguments, config, divide(arguments.train, config, test=arguments.test))


@dataclass(frozen=True)
class Answer:
    """Probabilities (N, K) of N rows and their classes (N,)."""

    probabilities: np.ndarray
    targets: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N,) bool."""
        found: np.ndarray = self.probabilities.argmax(1) == self.targets
        return found

    @property
    def error(self) -> float:
        """ECE in percent."""
        return 100 * calibration_error(self.probabilities, self.targets)

    @property
    def surplus(self) -> float:
        """Mean confidence less accuracy, in percentage points."""
        return 100 * float(self.probabilities.max(1).mean() - self.right.mean())

    def by_chance(self, seed: int = 0) -> tuple[float, float]:
        """Median and 95th percentile of the ECE, in percent, if every probability were true."""
        rng = np.random.default_rng(seed)
        steps = self.probabilities.cumsum(1)
        drawn = (
            (rng.random((len(steps), 1)) * steps[:, -1:] > steps).sum(1).clip(max=steps.shape[1] - 1)
            for _ in range(DRAWS)
        )
        low, high = np.quantile([100 * calibration_error(self.probabilities, labels) for labels in drawn], [0.5, 0.95])
        return float(low), float(high)

    def told(self) -> str:
        """Accuracy, ECE and what chance gives, marked where it gives less."""
        middle, high = self.by_chance()
        mark = "*" if self.error > high else " "
        chance = f"(by chance {middle:.2f}, {high:.2f}), too sure by {self.surplus:+.1f}"
        return f"{100 * self.right.mean():6.2f} %  ECE {self.error:5.2f}{mark} {chance}"


class Fitted:
    """The four models, fitted to the training rows, and the test rows they answer."""

    def __init__(self, parts: Partition, config: Config, unseen: Pairs):
        prepared = Preparation(parts.train, config, val=parts.val, val_drawn=parts.val_drawn)
        fitter = Fitter(prepared.task(), config, prepared.device)
        self.heads: dict[str, nn.Module] = {}
        self.inputs: dict[str, HeadInputs] = {}
        for name in MODELS:
            fitted = fit_model(prepared, fitter, name)
            self.heads[name] = fitted.head
            self.inputs[name] = prepared.inputs_of(unseen, fitted.encoders or prepared.make_encoders())
        self.targets = prepared.numbers(unseen).numpy()

    def answer(self, name: str, keep: dict[str, np.ndarray] | None = None) -> Answer:
        """What a model says of the test rows; `keep` (N,) bool by modality hides the others."""
        inputs = self.inputs[name]
        if keep is not None:
            present = {m: p & torch.from_numpy(keep[m]) if m in keep else p for m, p in inputs.present.items()}
            inputs = HeadInputs({m: x * present[m][:, None] for m, x in inputs.features.items()}, present)
        return Answer(logits(self.heads[name], inputs).softmax(1).numpy(), self.targets)


def blanks(_: argparse.Namespace, config: Config, parts: Partition) -> None:
    """Every pattern of missing modalities, and shares of each."""
    assert parts.test is not None
    fitted = Fitted(parts, config, parts.test)
    for what, keep in _patterns(len(parts.test)):
        print(what)
        answers = {name: fitted.answer(name, keep) for name in MODELS}
        for name, answer in answers.items():
            print(f"  {name:<6} {answer.told()}{_beside(name, answers, keep)}", flush=True)


def _patterns(rows: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    everything, nothing = np.ones(rows, bool), np.zeros(rows, bool)
    yield "complete", {}
    yield "image alone", {"text": nothing}
    yield "text alone", {"image": nothing}
    yield "neither", {"image": nothing, "text": nothing}
    for modality in MODALITIES:
        for share in SHARES:
            keep = everything.copy()
            keep[np.random.default_rng(0).permutation(rows)[: round(share * rows)]] = False
            yield f"{share:.0%} without {modality}", {modality: keep}


def _beside(name: str, answers: dict[str, Answer], keep: dict[str, np.ndarray]) -> str:
    """How far a fusion is from the single heads of what is left, on the rows that lack one modality."""
    if name in MODALITIES or len(keep) != 1:
        return ""
    ((modality, there),) = keep.items()
    (left,) = set(MODALITIES) - {modality}
    gone = ~there
    gap = answers[name].right[gone].mean() - answers[left].right[gone].mean()
    return f"  on rows without {modality} {100 * gap:+.2f} points of {left}'s head"


def few(arguments: argparse.Namespace, config: Config, parts: Partition) -> None:
    """Some of the training rows, drawn anew several times, a tenth of them to validate."""
    assert parts.test is not None
    for rows in arguments.rows:
        found: dict[str, list[Answer]] = {name: [] for name in MODELS}
        for seed in range(arguments.draws):
            fitted = _of_few(parts, config, rows, seed)
            for name in MODELS:
                found[name].append(fitted.answer(name))
        print(f"{rows} rows, {arguments.draws} draws")
        for name, answers in found.items():
            print(f"  {name:<6} {_over_draws(answers)}", flush=True)


def _of_few(parts: Partition, config: Config, rows: int, seed: int) -> Fitted:
    assert parts.test is not None
    drawn = np.random.default_rng(seed).permutation(len(parts.train))[:rows]
    settings = {"seed": seed, "data": config.data.model_copy(update={"test_fraction": 0.0})}
    config = config.model_copy(update=settings)
    some = divide(parts.train.select(np.sort(drawn)), config)
    known = set(some.train.labels)
    return Fitted(some, config, parts.test.select([i for i, label in enumerate(parts.test.labels) if label in known]))


def _over_draws(answers: list[Answer]) -> str:
    errors = [one.error for one in answers]
    above = sum(one.error > one.by_chance()[1] for one in answers)
    by_chance = np.mean([one.by_chance()[0] for one in answers])
    accuracy = np.mean([100 * one.right.mean() for one in answers])
    surplus = np.mean([one.surplus for one in answers])
    return (
        f"{accuracy:6.2f} %  ECE mean {np.mean(errors):5.2f}, worst {max(errors):5.2f} (by chance {by_chance:.2f}), "
        f"too sure by {surplus:+.1f}; {above} of {len(answers)} draws above the 95th percentile of chance"
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
