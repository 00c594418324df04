"""From raw pairs to answers: batches, single rows, and the distance to the floor."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.encoding import plain_images, plain_texts
from benchmarks.timing import Table, percentiles, seconds
from plait.data.pairs import Pairs
from plait.encoders.image import TimmEncoder, normalise
from plait.encoders.text import SentenceEncoder
from plait.inference.engine import Engine, Item

SIDE = 2048  # of the matrices whose product gives the machine's rate
NAMES = {"run": "PyTorch", "onnx": "ONNX Runtime", "int8": "ONNX Runtime, int8"}


def measure(engines: dict[str, Engine], pairs: Pairs, table: Table) -> None:
    """Add the rows. The engine ``run`` is the one of PyTorch."""
    run = engines["run"]
    rate = matrix_rate()
    floor = rate / operations(run, pairs)
    table.add("fp32 matrix rate", gigaflops=rate / 1e9, rows_a_second_at_that_rate=floor)
    image, text = run.encoders.image, run.encoders.text[0]
    assert isinstance(image, TimmEncoder)
    plain = seconds(lambda: plain_images(image, pairs), 2)
    plain += seconds(lambda: plain_texts(text, pairs) if isinstance(text, SentenceEncoder) else None, 2)
    for name, engine in engines.items():
        found = seconds(lambda engine=engine: engine.predict_proba(pairs), 2)  # type: ignore[misc]
        rows = len(pairs) / found
        table.add(
            f"batches, {NAMES[name]}", rows_a_second=rows, of_plain_loops=plain / found, of_the_floor=rows / floor
        )
    items = [Item(ref.bytes if ref else None, said) for ref, said in zip(pairs.images(), pairs.texts, strict=True)]
    whole = [item for item in items if item.image and item.text]
    for name, engine in engines.items():
        turn = iter(range(10**9))
        found_ms = percentiles(lambda engine=engine, turn=turn: engine.answer([whole[next(turn) % len(whole)]]))  # type: ignore[misc]
        table.add(f"one row, {NAMES[name]}, ms", **found_ms)


def matrix_rate() -> float:
    """Floating-point operations a second of a large fp32 matrix product."""
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    return 2 * SIDE**3 / seconds(lambda: a @ b, 5)


def operations(engine: Engine, pairs: Pairs) -> float:
    """Floating-point operations of the encoders for a row, on average: two for each multiplication and addition."""
    image, text = engine.encoders.image, engine.encoders.text[0]
    assert isinstance(image, TimmEncoder)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        image.model(normalise(torch.zeros(1, *image.settings["input_size"], dtype=torch.uint8), image.settings))
    total = float(counted.get_total_flops())
    if isinstance(text, SentenceEncoder):
        texts = [said for said in pairs.texts if said][:: max(1, len(pairs) // 100)]
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            for said in texts:
                text.model(text.model.preprocess([said]))
        total += counted.get_total_flops() / len(texts)
    return total
