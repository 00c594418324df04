"""A search from rows to the folder of the network found."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from plait.config import Config
from plait.data.checks import require_classes
from plait.data.partition import Partition
from plait.data.sketch import Sketch
from plait.data.unreadable import Tally
from plait.devices import pick_device
from plait.encoders.image import LOCAL, WHOLE, create_model, data_config, folder_of
from plait.errors import ConfigError, DataError, EncoderError, RunError, option, setting
from plait.features.sizing import shorter_sides
from plait.files import blamed_on, require_folder, require_free
from plait.progress import say
from plait.search.measure import Stepper, params_of
from plait.search.proxy import Heritage, Proxy, some
from plait.search.records import FOUND, REPORT, Facts, describe, plain, read, write
from plait.search.reward import called, reward
from plait.search.settings import Plan
from plait.search.space import Space, sizes_for, starting_point
from plait.search.study import ASKING, JOURNAL, LOCK, WORKERS, Journal, choices_of
from plait.search.trials import Trials
from plait.training.encoders.folder import FACTS
from plait.training.encoders.images import Rows, unreadable
from plait.training.encoders.tuner import Tuner

MODEL, START, FINAL = "model", "start", "final.lock"
LARGEST = 224  # input side that follows from the pictures


def search(parts: Partition, config: Config, plan: Plan, out: Path, overwrite: bool = False) -> Facts:
    """Find a network for pictures and machine, and train it to the end.

    A killed search goes on where it was, several processes may work on one folder, and a finished one is left alone.

    Args:
        parts: rows that train, and that networks are compared on.
        config: ``image``, ``seed`` and ``device`` are used; ``image.train`` is the final training.
        plan: what to do.
        out: folder of the study, ``search.json``, ``report.html`` and ``model``, a timm folder.

    Returns:
        What ``search.json`` says.

    Raises:
        RunError: the folder holds something else. ConfigError: limits or a budget that nothing meets, settings that
            do not go with a search, or a name that is no point of the space.
        DataError: one class, no readable pictures, or pictures too small.
    """
    return _Search(parts, config, plan, out, overwrite).run()


@dataclass
class _Search:
    parts: Partition
    config: Config
    plan: Plan
    out: Path
    overwrite: bool

    def run(self) -> Facts:
        if self.config.image.train.stages is not None:
            raise ConfigError("image.train.stages names sizes, which a search chooses; leave it null")
        # Their errors come before anything is written.
        _ = self.tuner, self.space, self.heritage, _network(self.plan.reference, called("reference"), False)
        for name in self.plan.warm_start:
            starting_point(self.space, name)
        self._claim()
        journal = Journal(self.out, self.plan.sampler, self.config.seed)
        self._require_same(journal)
        trials = Trials(journal, self.space, self.plan, self._proxy(), self._stepper())
        with journal.working():
            trials.run()
            if journal.others():
                say("other processes are at their last trials; the last of them trains the network found")
                return describe(trials, self.parts)
            return self._finish(trials)

    @cached_property
    def tuner(self) -> Tuner:
        """Of the whole training rows."""
        labels = require_classes(self.parts.train)
        for pairs, which in ((self.parts.train, "training"), (self.parts.val, "validation")):
            if not pairs.has_image.any():
                raise DataError(
                    f"{pairs.source}: no {which} row has an image; name the column: {setting('data.image=COLUMN')}"
                )
        device = pick_device(self.config.device)
        return Tuner(self.parts.train, self.parts.val, labels, self.config, device, Tally(self.config.data.strict))

    @cached_property
    def space(self) -> Space:
        size = self.config.image.size or self._usual_size()
        return Space(sizes_for(size, self.parts.train.source))

    def _usual_size(self) -> int:
        """Median of the pictures' shorter sides, at most `LARGEST`."""
        sides = shorter_sides(self.parts.train)
        if not sides:
            raise DataError(f"{self.parts.train.source}: no image can be read; check data.image and data.root")
        return min(LARGEST, round(statistics.median(sides)))

    @cached_property
    def heritage(self) -> Heritage:
        if self.plan.inherit is None:
            return Heritage(self._preprocessing(self.space.smallest.build(0)))
        source = _network(self.plan.inherit, called("inherit"), True)
        return Heritage(self._preprocessing(source), source)

    def _preprocessing(self, model: torch.nn.Module) -> dict[str, Any]:
        return data_config(model, self.space.sizes[-1], self.config.image.crop_mode or WHOLE)

    def _claim(self) -> None:
        require_folder(self.out)
        if self.overwrite:
            for name in (JOURNAL, FOUND, REPORT, LOCK, ASKING, FINAL):
                (self.out / name).unlink(missing_ok=True)
            for name in (MODEL, START, WORKERS, f".{MODEL}.training"):
                shutil.rmtree(self.out / name, ignore_errors=True)
        if not (self.out / JOURNAL).is_file():
            require_free(self.out, but=(JOURNAL, LOCK, ASKING, WORKERS))
        with blamed_on(self.out):
            self.out.mkdir(parents=True, exist_ok=True)

    def _require_same(self, journal: Journal) -> None:
        """Raise RunError where the folder's study is of other rows or settings; look at the rows where it is new."""
        rows = {"rows": self.tuner.key("image"), "space": plain(self.space.choices)}
        inputs = plain(rows | self.plan.facts)
        known = journal.attribute("inputs")
        if known is None:
            self._look()
            journal.note("inputs", inputs)
        elif known != inputs:
            names = ", ".join(sorted(key for key in inputs if known.get(key) != inputs[key]))
            raise RunError(
                f"'{self.out}' holds a search with other {names}; repeat that one to go on with it, choose another "
                f"folder, or start anew with {option('--overwrite', 'overwrite=True')}"
            )

    def _look(self) -> None:
        for pairs in (self.parts.train, self.parts.val):
            problems = unreadable(pairs, self.config.image.workers)
            self.tuner.tally.report(pairs, problems, int(pairs.has_image.sum()))

    def _proxy(self) -> Proxy:
        rows = [some(self.parts.train, self.plan.rows, self.config.seed)]
        rows.append(some(self.parts.val, self.plan.rows, self.config.seed))
        train, val = (Rows(pairs, self.tuner.targets(pairs)) for pairs in rows)
        labels, seed = len(self.tuner.labels), self.config.seed
        device = torch.device(self.tuner.device)
        return Proxy(train, val, labels, self.config.image, self.heritage, self.plan.epochs, seed, device)

    def _stepper(self) -> Stepper:
        return Stepper(self.config.image.train, torch.device(self.tuner.device), len(self.tuner.labels))

    def _finish(self, trials: Trials) -> Facts:
        """Train the best network to the end, in one process."""
        facts, kept = describe(trials, self.parts), read(self.out)
        best = facts["best"]
        if best is None:
            raise ConfigError(
                f"no network was trained to the end; give more {called('trials')} or a larger {called('budget')}"
            )
        if kept.get("final", {}).get("trial") == best and (self.out / MODEL / FACTS).is_file():
            facts["final"] = kept["final"]
            if kept["trials"] == facts["trials"]:
                say(f"'{self.out}' holds this search, finished; there is nothing to do")
            else:
                write(facts, self.out)
            return facts
        try:
            with FileLock(self.out / FINAL, timeout=0):
                write(facts, self.out)
                facts["final"] = self._final(trials, best)
                write(facts, self.out)
        except Timeout:
            say("another process trains the network found")
        return facts

    def _final(self, trials: Trials, number: int) -> Facts:
        """The full training of a trial's network; what came of it."""
        trial = trials.journal.trials[number]
        network = self.space.network(choices_of(trial))
        start = self.out / START / str(number)
        share = self.heritage.write(network, start)
        if self.plan.inherit is not None:
            sketch = Sketch.load(folder_of(self.plan.inherit))
            if sketch is not None:
                sketch.save(start)
        image = self.heritage.config(self.config.image, network, start)
        say(f"training the network of trial {number} to the end: {image.train.epochs} epochs")
        tuner = Tuner(
            self.tuner.train, self.tuner.val, self.tuner.labels, self.config.model_copy(update={"image": image}),
            self.tuner.device, self.tuner.tally,
        )  # fmt: skip
        done = tuner.tune("image", self.out / MODEL, overwrite=True)
        shutil.rmtree(self.out / START)
        kept = min(done["curve"], key=lambda epoch: epoch["val_loss"])
        known = trial.user_attrs
        found = reward(
            kept["val_accuracy"], known["step_ratio"], known["params"] / params_of(trials.reference), self.plan.w,
            self.plan.v,
        )  # fmt: skip
        return {
            "trial": number,
            "model": f"{LOCAL}{self.out / MODEL}",
            "accuracy": kept["val_accuracy"],
            "reward": found,
            "epochs": len(done["curve"]),
            "seconds": done["seconds"],
            "inherited": share,
        }


def _network(name: str, flag: str, pretrained: bool) -> torch.nn.Module:
    """A timm network. Raises ConfigError that names the flag which named it."""
    try:
        return create_model(name, pretrained)
    except EncoderError as error:
        raise ConfigError(str(error).replace("image.model", flag, 1)) from None
