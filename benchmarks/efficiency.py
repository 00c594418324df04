"""What networks cost against one another: the tables of docs/efficiency.md.

    python -m benchmarks.efficiency images
    python -m benchmarks.efficiency texts --device cuda --precision bf16

`images` has InceptionV3 and three EfficientNets at 299 and 224 px, `texts` BERT with an LSTM on top and two sentence
encoders, all with random weights, which cost what trained ones do. Networks are timed in turns, so that a neighbour on
the machine slows all of them; a figure is that of the quickest turn. On one thread of a CPU it is the time of the
processor, which no neighbour adds to. The second line of a network has its figures as ratios to the first network's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import Table
from plait.training.loop import autocast

IMAGES = ("inception_v3", "tf_efficientnetv2_s", "tf_efficientnetv2_b0", "tf_efficientnet_lite0")
SIZES = (299, 224)
TEXTS = ("bert-base + lstm", "bert-base, mean", "minilm, mean")
TOKENS, WORDS, UNITS, CLASSES = 32, 30_522, 128, 101
SHAPES = {"bert-base": (768, 12, 12, 3072), "minilm": (384, 6, 12, 1536)}  # width, layers, attention heads, inner width


@dataclass(frozen=True)
class Setup:
    """Where and how networks compute.

    Attributes:
        batch: rows of a step. rounds: turns of each network, after one that warms up.
    """

    device: torch.device
    precision: Any
    batch: int
    rounds: int

    def clock(self) -> float:
        """Seconds: of the processor where one thread computes, else of the wall."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        return time.process_time() if alone else time.perf_counter()


class TextNetwork(nn.Module):
    """A BERT, the mean of its token vectors or a bidirectional LSTM over them, and a classifier; (B, T) -> (B, K)."""

    def __init__(self, name: str):
        from transformers import BertConfig, BertModel

        super().__init__()
        shape, _, top = name.replace(",", " +").partition(" + ")
        width, layers, heads, inner = SHAPES[shape]
        config = BertConfig(
            vocab_size=WORDS, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=inner,
        )  # fmt: skip
        self.bert = BertModel(config, add_pooling_layer=False)
        self.lstm = nn.LSTM(width, UNITS, batch_first=True, bidirectional=True) if top == "lstm" else None
        self.output = nn.Linear(2 * UNITS if self.lstm is not None else width, CLASSES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors = self.bert(tokens).last_hidden_state
        if self.lstm is not None:
            vectors, _ = self.lstm(vectors)
        found: torch.Tensor = self.output(vectors.mean(1))
        return found


def network(name: str) -> nn.Module:
    """An untrained network of that name."""
    if name in TEXTS:
        return TextNetwork(name)
    import timm

    made: nn.Module = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    return made


def inputs(name: str, size: int, rows: int) -> torch.Tensor:
    """Noise: pictures of that side, or texts of that many tokens."""
    rng = torch.Generator().manual_seed(0)
    if name in TEXTS:
        return torch.randint(0, WORDS, (rows, size), generator=rng)
    return torch.randn(rows, 3, size, size, generator=rng).contiguous(memory_format=torch.channels_last)


def operations(name: str, size: int) -> int:
    """Multiply-adds for one row: half of what PyTorch's counter calls floating operations."""
    with torch.device("meta"):
        model, row = network(name).eval(), inputs_like(name, size)
    if isinstance(model, TextNetwork):
        model.bert.set_attn_implementation("eager")  # fused attention is one operation that the counter does not open
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model(row)
    return counter.get_total_flops() // 2


def inputs_like(name: str, size: int) -> torch.Tensor:
    """One row without content, on the current device."""
    if name in TEXTS:
        return torch.zeros(1, size, dtype=torch.int64)
    return torch.zeros(1, 3, size, size)


def forward(model: nn.Module, rows: torch.Tensor, setup: Setup) -> Callable[[], None]:
    """A function that answers a batch."""
    model, rows = placed(model, setup).eval(), rows.to(setup.device)

    def once() -> None:
        with torch.inference_mode(), autocast(setup.precision, setup.device):
            model(rows)

    return once


def training(model: nn.Module, rows: torch.Tensor, setup: Setup) -> Callable[[], None]:
    """A function that does one training step of a batch, by AdamW."""
    model, rows = placed(model, setup).train(), rows.to(setup.device)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    targets = torch.arange(len(rows), device=setup.device) % CLASSES

    def once() -> None:
        with autocast(setup.precision, setup.device):
            loss = F.cross_entropy(model(rows), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return once


def placed(model: nn.Module, setup: Setup) -> nn.Module:
    return model.to(setup.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


MODES = {"forward": forward, "training": training}


def rows_a_second(names: tuple[str, ...], size: int, mode: str, setup: Setup) -> dict[str, float]:
    """Of each network, timed in turns."""
    steps = {name: MODES[mode](network(name), inputs(name, size, setup.batch), setup) for name in names}
    best = dict.fromkeys(names, float("inf"))
    for turn in range(setup.rounds + 1):
        for name, step in steps.items():
            start = setup.clock()
            step()
            taken = setup.clock() - start
            best[name] = min(best[name], taken) if turn else best[name]
    return {name: setup.batch / taken for name, taken in best.items()}


def peak_megabytes(name: str, size: int, mode: str, setup: Setup) -> float:
    """Memory that two steps take at most, the network's own weights among it."""
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setup.device)
        before = torch.cuda.memory_allocated(setup.device)
        step = MODES[mode](network(name), inputs(name, size, setup.batch), setup)
        step(), step()
        return (torch.cuda.max_memory_allocated(setup.device) - before) / 1e6
    wanted = {"name": name, "size": size, "mode": mode, "precision": setup.precision, "batch": setup.batch}
    command = [sys.executable, "-m", "benchmarks.efficiency", "memory", json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout.splitlines()[-1])


def child_megabytes(name: str, size: int, mode: str, precision: Any, batch: int) -> float:
    """`peak_megabytes` on a CPU, in a process that does nothing else."""
    setup = Setup(torch.device("cpu"), precision, batch, 0)
    network(TEXTS[-1] if name in TEXTS else IMAGES[-1])  # imports what it needs
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # forget the peak so far
    step = MODES[mode](network(name), inputs(name, size, batch), setup)
    step(), step()
    return (_status("VmHWM") - before) / 1e6


def _status(key: str) -> int:
    """Bytes that Linux says of this process."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def measure(names: tuple[str, ...], size: int, unit: str, setup: Setup, table: Table) -> None:
    """One section: a row for each network, and one of ratios to the first."""
    table.section(f"{size} {unit}")
    speeds = {mode: rows_a_second(names, size, mode, setup) for mode in MODES}
    first: dict[str, float] = {}
    for name in names:
        with torch.device("meta"):
            parameters = sum(one.numel() for one in network(name).parameters())
        found = {"M parameters": parameters / 1e6, "G operations": operations(name, size) / 1e9}
        found |= {f"rows/s {mode}": speeds[mode][name] for mode in MODES}
        found |= {f"MB {mode}": peak_megabytes(name, size, mode, setup) for mode in MODES}
        table.add(name, **found)
        first = first or found
        if found is not first:
            table.add(f"  of {names[0]}", **{key: value / first[key] for key, value in found.items()})


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("images", "texts", "memory"))
    parser.add_argument("what", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="32", choices=("32", "bf16"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.kind == "memory":
        print(child_megabytes(**json.loads(arguments.what)))
        return
    setup = Setup(torch.device(arguments.device), arguments.precision, arguments.batch, arguments.rounds)
    table = Table()
    threads = torch.get_num_threads()
    table.say(f"{arguments.device}, {arguments.precision} bits, batches of {setup.batch}, {threads} threads")
    for size in SIZES if arguments.kind == "images" else (TOKENS,):
        names, unit = (IMAGES, "px") if arguments.kind == "images" else (TEXTS, "tokens")
        measure(names, size, unit, setup, table)


if __name__ == "__main__":
    main()
