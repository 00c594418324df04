"""The study: every trial in one journal, which outlives kills and which several processes share."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from plait.search.policy import PolicySampler
from plait.search.space import Choice, Space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

    from plait.search.settings import Sampler

JOURNAL, LOCK, ASKING, WORKERS, NAME = "journal.log", "journal.lock", "asking.lock", "workers", "search"
HALVING = 2  # one in so many networks is trained on, after 1, 2, 4, ... epochs
DRAWN = 10  # networks at random before TPE has enough to go by


class Journal:
    """A study in a folder, as one of the processes at work on it.

    Args:
        folder: of the search.
        sampler: what draws choices; each trial's draws are seeded by its number, so a resumed study repeats none.
        seed: of them.
    """

    def __init__(self, folder: Path, sampler: Sampler, seed: int):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.sampler, self.seed = folder, sampler, seed
        (folder / WORKERS).mkdir(parents=True, exist_ok=True)
        self._lock = _Lock(folder / LOCK)
        _mend(folder / JOURNAL, self._lock)
        backend = JournalFileBackend(str(folder / JOURNAL), self._lock)  # type: ignore[arg-type]
        self.study = _study(JournalStorage(backend))
        self.worker = uuid.uuid4().hex
        self._asking = FileLock(folder / ASKING)
        self._alive = FileLock(folder / WORKERS / f"{self.worker}.lock")

    @contextmanager
    def working(self) -> Iterator[None]:
        """Show other processes that this one lives, until the block ends, however it ends."""
        with self._alive:
            yield
        Path(self._alive.lock_file).unlink(missing_ok=True)

    @property
    def trials(self) -> list[FrozenTrial]:
        """In order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    def attribute(self, name: str) -> Any:
        """A fact about the study; None where there is none."""
        return self.study.user_attrs.get(name)

    def note(self, name: str, value: Any) -> None:
        """Keep a fact about the study."""
        self.study.set_user_attr(name, value)

    def ask(self, space: Space) -> tuple[Trial, dict[str, Choice]]:
        """A new trial and its choices."""
        with self._asking:  # so that a trial which runs for nobody is one whose process died here
            trial = self.study.ask()
            trial.set_user_attr("worker", self.worker)
        self.study.sampler = sampler_of(self.sampler, self.seed * 100_003 + trial.number)
        drawn = {name: trial.suggest_categorical(name, values) for name, values in space.choices.items()}
        return trial, cast("dict[str, Choice]", drawn)

    def enqueue(self, choices: dict[str, Choice], name: str = "") -> None:
        """Have these choices tried next, unless a trial has them already."""
        if not any(choices_of(one) == choices for one in self.trials if one.state != TrialState.FAIL):
            self.study.enqueue_trial(choices, user_attrs={"name": name} if name else None)

    def reclaim(self, space: Space) -> int:
        """Have trials whose process has died tried again; how many there were."""
        with self._asking:
            lost = [one for one in self.trials if one.state == TrialState.RUNNING and self._is_lost(one)]
            for trial in lost:
                self.study.tell(trial.number, state=TrialState.FAIL)
                choices = choices_of(trial)
                if set(choices) == set(space.choices):
                    self.enqueue(choices, trial.user_attrs.get("name", ""))
        return len(lost)

    def others(self) -> int:
        """Trials that other processes are at."""
        return sum(one.state == TrialState.RUNNING for one in self.trials)

    def _is_lost(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get("worker")
        if worker is None or worker == self.worker:
            return worker is None
        path = self.folder / WORKERS / f"{worker}.lock"
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            return False
        path.unlink(missing_ok=True)
        return True


def _study(storage: JournalStorage) -> optuna.Study:
    """The study of a journal, which is only written to where it has none."""
    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=HALVING)
    try:
        return optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)
    except KeyError:
        return optuna.create_study(
            study_name=NAME, storage=storage, pruner=pruner, direction="maximize", load_if_exists=True
        )


def choices_of(trial: FrozenTrial) -> dict[str, Choice]:
    """What a trial chose, or is to choose where it waits."""
    waiting: dict[str, Choice] = trial.system_attrs.get("fixed_params", {})
    return waiting | trial.params


def sampler_of(name: Sampler, seed: int) -> BaseSampler:
    """A fresh sampler; what it learns from are a study's trials."""
    if name == "policy":
        return PolicySampler(seed)
    if name == "random":
        return RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna calls `multivariate` that
        return TPESampler(seed=seed, n_startup_trials=DRAWN, multivariate=True)


def _mend(path: Path, lock: _Lock) -> None:
    """Cut off a last line that a killed process left unfinished, so that the next one does not join it."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


class _Lock:
    """What Optuna asks of a lock; the system lets go of it when its process dies."""

    def __init__(self, path: Path):
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()
