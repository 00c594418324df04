"""What a search finds, what its samplers are worth, and what inherited weights give.

    python -m benchmarks.search samplers --seeds 20 --figure docs/search.png
    python -m benchmarks.search contest TRAIN TEST --budget 40 --seeds 3 --out found image.train.epochs=12
    python -m benchmarks.search inherit TRAIN --source local-dir:FOLDER --networks 8

`samplers` replays the table that `python -m benchmarks.search_table` made. `contest` searches on TRAIN, then trains
the network found and the reference from random weights with several seeds, and measures both on TEST once. `inherit`
gives the same networks the short training from random weights and from a trained network's blocks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from benchmarks.search_table import SPACE, read_table
from benchmarks.tune import tune
from plait.config import Config, configure
from plait.data.partition import divide
from plait.data.read import read_as
from plait.encoders.image import create_model, data_config
from plait.files import read_json, write_json
from plait.search.measure import Stepper, in_turns, params_of
from plait.search.proxy import Heritage, Proxy, some
from plait.search.reward import reward
from plait.search.run import search
from plait.search.settings import REFERENCE, Plan, Sampler
from plait.search.space import Network, Space, sizes_for
from plait.search.study import sampler_of
from plait.training.encoders.images import Rows

SAMPLERS: tuple[Sampler, ...] = ("random", "tpe", "policy")
SHOWN = (10, 20, 30, 40, 60)
SURE = 0.95


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("samplers")
    one.add_argument("--seeds", type=int, default=20)
    one.add_argument("--first", type=int, default=0, help="the first seed")
    one.add_argument("--trials", type=int, default=max(SHOWN))
    one.add_argument("--figure", type=Path)
    one.set_defaults(run=samplers)
    one = kinds.add_parser("contest")
    one.add_argument("train")
    one.add_argument("test")
    one.add_argument("--budget", type=float, default=40.0)
    one.add_argument("--trials", type=int, default=1000)
    one.add_argument("--sampler", choices=SAMPLERS, default=Plan.sampler)
    one.add_argument("--proxy-rows", type=int, default=Plan.rows)
    one.add_argument("--proxy-epochs", type=int, default=Plan.epochs)
    one.add_argument("--seeds", type=int, default=3)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--searched", action="store_true", help="take the trials that an earlier search left in --out")
    one.set_defaults(run=contest)
    one = kinds.add_parser("inherit")
    one.add_argument("train")
    one.add_argument("--source", required=True)
    one.add_argument("--networks", type=int, default=8)
    one.add_argument("--proxy-rows", type=int, default=Plan.rows)
    one.add_argument("--proxy-epochs", type=int, default=Plan.epochs)
    one.set_defaults(run=inherit)
    arguments, overrides = parser.parse_known_args()
    run: Callable[[Any, list[str]], None] = arguments.run
    run(arguments, overrides)


def samplers(arguments: argparse.Namespace, _: list[str]) -> None:
    """Best reward by trial of each sampler on the table: mean over seeds and its interval."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = {key: reward(*values) for key, values in _relative(read_table()).items()}
    best = max(table.values())
    print(f"{len(table)} networks; rewards {min(table.values()):.4f} to {best:.4f}")
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    found = {
        name: np.array([replay(table, name, seed, arguments.trials) for seed in seeds]) for name in SAMPLERS
    }  # fmt: skip
    shown = [trial for trial in SHOWN if trial <= arguments.trials]
    print("best reward after trial", *(f"{trial:>16}" for trial in shown))
    for name, curves in found.items():
        print(f"{name:<23}", *(f"{_mean(curves[:, trial - 1])[0]:>16}" for trial in shown))
    for name in SAMPLERS[1:]:
        gain = found[name] - found["random"]
        print(f"{name + ' less random':<23}", *(f"{_mean(gain[:, trial - 1])[0]:>16}" for trial in shown))
    if arguments.figure:
        draw(found, best, arguments.figure)


def _relative(table: dict[Any, tuple[float, float, int]]) -> dict[Any, tuple[float, float, float]]:
    """Parameters by those of the space's smallest network, as times are."""
    smallest = params_of(SPACE.smallest.build(16))
    return {key: (accuracy, time, params / smallest) for key, (accuracy, time, params) in table.items()}


def replay(table: dict[Any, float], name: Sampler, seed: int, trials: int) -> np.ndarray:
    """The best reward so far after each trial, (trials,), of a study whose trials are looked up."""
    study = optuna.create_study(direction="maximize")
    rewards = []
    for _ in range(trials):
        trial = study.ask()
        study.sampler = sampler_of(name, seed * 100_003 + trial.number)
        choices = tuple(trial.suggest_categorical(key, values) for key, values in SPACE.choices.items())
        rewards.append(table[choices])
        study.tell(trial, rewards[-1])
    return np.maximum.accumulate(rewards)


def draw(found: dict[Sampler, np.ndarray], best: float, path: Path) -> None:
    """Mean and interval of the best reward by trial, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, curves), color in zip(found.items(), ("#555b66", "#0072b2", "#c27c00"), strict=True):
        trial, mean = np.arange(1, curves.shape[1] + 1), curves.mean(0)
        half = _t(len(curves)) * curves.std(0, ddof=1) / len(curves) ** 0.5
        axes.plot(trial, mean, color=color, label=f"{name}, {len(curves)} seeds")
        axes.fill_between(trial, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
    axes.axhline(best, color="#999999", linewidth=1, linestyle=":", label="best of the table")
    axes.set(xlabel="trial", ylabel="best reward so far")
    axes.legend(frameon=False, loc="lower right")
    axes.grid(color="#e3e4e0")
    figure.savefig(path, dpi=120)
    print(path)


def contest(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """A search, then its network against the reference: trained the same way with several seeds, tested once."""
    config = configure(overrides=overrides)
    plan = Plan(
        trials=arguments.trials, budget=arguments.budget, sampler=arguments.sampler, rows=arguments.proxy_rows,
        epochs=arguments.proxy_epochs,
    )  # fmt: skip
    parts = divide(arguments.train, config, test=arguments.test, modalities=("image",))
    facts = (
        read_json(arguments.out / "search.json") if arguments.searched else search(parts, config, plan, arguments.out)
    )
    states = [one["state"] for one in facts["trials"]]
    print(f"{len(states)} trials:", ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(states)))
    space = Space(tuple(facts["space"]["size"]))
    found, reference = space.network(facts["trials"][facts["best"]]["choices"]), space.known(REFERENCE)
    assert reference is not None
    stepper = Stepper(config.image.train, torch.device("cpu"), facts["classes"])
    step = _step_ratio(stepper, found, reference)
    networks = {"found": (found, step), REFERENCE: (reference, 1.0)}
    tables = [read_as(table, config) for table in (arguments.train, arguments.test)]
    size = params_of(reference.build(facts["classes"]))
    rewards, accuracies = {}, {}
    for name, (network, ratio) in networks.items():
        share = params_of(network.build(facts["classes"])) / size
        kept = Kept(arguments.out / "contest.json", f"{name} {' '.join(overrides)}")
        accuracies[name] = [
            kept.get(seed, lambda network=network, seed=seed: _tested(network, tables, config, seed))
            for seed in range(arguments.seeds)
        ]
        rewards[name] = [reward(accuracy, ratio, share) for accuracy in accuracies[name]]
        print(
            f"{name:<22} accuracy {_mean(accuracies[name])[0]}, reward {_mean(rewards[name])[0]}, step {ratio:.3f}, "
            f"parameters {share:.3f}"
        )
    for what, values in (("accuracy", accuracies), ("reward", rewards)):
        gain = np.subtract(values["found"], values[REFERENCE])
        print(f"{what} of the one found less the reference's, seed by seed: {_mean(gain)[0]}")
    print("found:", " ".join(found.blocks), f"at {found.size} px")


@dataclass(frozen=True)
class Kept:
    """Accuracies by seed in a file, so that a contest that was stopped goes on."""

    file: Path
    name: str

    def get(self, seed: int, measure: Callable[[], float]) -> float:
        """That of a seed, measured where it is not known."""
        known: dict[str, float] = read_json(self.file) if self.file.exists() else {}
        key = f"{self.name}, seed {seed}"
        if key not in known:
            known[key] = measure()
            write_json(self.file, known)
        return known[key]


def _step_ratio(stepper: Stepper, found: Network, reference: Network) -> float:
    models = [one.build(stepper.classes) for one in (found, reference)]
    own, other = in_turns(stepper.step(models[0], found.size), stepper.step(models[1], reference.size), repeats=25)
    return own / other


def _tested(network: Network, tables: Sequence[Any], config: Config, seed: int) -> float:
    """Test accuracy of a network after the whole training from random weights."""
    heritage = Heritage(data_config(network.build(0), network.size))
    with tempfile.TemporaryDirectory() as folder:
        heritage.write(network, Path(folder))
        image = heritage.config(config.image, network, Path(folder))
        return tune(*tables, config.model_copy(update={"image": image, "seed": seed})).accuracy


def inherit(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Accuracy of the short training with and without inherited blocks, network by network."""
    config = configure(overrides=overrides)
    parts = divide(arguments.train, config, modalities=("image",))
    labels = sorted({str(label) for label in parts.train.labels})
    train, val = (
        Rows(pairs, torch.tensor([labels.index(str(label)) for label in pairs.labels]))
        for pairs in (some(one, arguments.proxy_rows, config.seed) for one in (parts.train, parts.val))
    )
    space = Space(sizes_for(config.image.size or 64))
    source = create_model(arguments.source, True)
    settings = data_config(source, space.sizes[-1])
    device, gains = torch.device("cpu"), []
    for number, network in enumerate(_drawn(space, arguments.networks)):
        accuracies, share = [], 0.0
        for heritage in (Heritage(settings), Heritage(settings, source)):
            with tempfile.TemporaryDirectory() as folder:
                share = heritage.write(network, Path(folder))
            proxy = Proxy(
                train, val, len(labels), config.image, heritage, arguments.proxy_epochs, config.seed, device
            )  # fmt: skip
            accuracies.append(proxy.accuracy(network, lambda epoch, accuracy: None))
        gains.append(accuracies[1] - accuracies[0])
        words = "the reference" if number == 0 else f"network {number}"
        print(f"{words:<14} {share:6.1%} inherited: {accuracies[0]:.4f} -> {accuracies[1]:.4f}", flush=True)
    print(f"gain: {_mean(gains)[0]}")


def _drawn(space: Space, count: int) -> list[Network]:
    """The reference, and networks at random of its width, since others have no blocks of its shapes."""
    reference = space.known(REFERENCE)
    assert reference is not None
    rng = np.random.default_rng(0)
    found = [reference]
    for _ in range(count):
        drawn = {name: values[rng.integers(len(values))] for name, values in space.choices.items()}
        found.append(space.network(drawn | {"width": reference.choices["width"], "size": space.sizes[-1]}))
    return found


def _mean(values: Sequence[float] | np.ndarray) -> tuple[str, float]:
    """Mean and half its 95 % interval, by Student's t; in words and the latter as a number."""
    if len(values) < 2:
        return f"{np.mean(values):.4f}", float("nan")
    half = _t(len(values)) * statistics.stdev(map(float, values)) / len(values) ** 0.5
    return f"{np.mean(values):.4f} ± {half:.4f}", half


def _t(count: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.5 + SURE / 2, count - 1))


if __name__ == "__main__":
    main()
