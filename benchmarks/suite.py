"""How fast plait is on this machine: ``make bench``, or ``python -m benchmarks.suite --out bench.json``.

Drawn pairs, EfficientNetV2-B0 with random weights (its speed is the same) at 64 px, and MiniLM where it is installed.
Absolute figures depend on the machine and on what else it does; each ratio is of two measurements of the same run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

import plait
from benchmarks import answering, encoding, serve, starting
from benchmarks.timing import Table
from plait.encoders.image import create_model, data_config, save_timm
from plait.encoders.text import load_sentence_encoder
from plait.errors import PlaitError
from plait.export.write import export
from plait.pipeline.classifier import Classifier
from plait.runs.open import load

ROWS = 2000
CLIENTS, SECONDS = (1, 8, 32), 6.0


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--size", type=int, default=64, help="side in pixels")
    parser.add_argument("--image-model", default="tf_efficientnetv2_b0")
    arguments = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments, table)
    arguments.out.write_text(json.dumps(table.values, indent=1) + "\n", "utf-8")
    print(arguments.out)


def measure(folder: Path, arguments: argparse.Namespace, table: Table) -> None:
    """Every section of the table."""
    table.say(f"{arguments.rows:,} drawn pairs, {arguments.size} px, {torch.get_num_threads()} threads")
    pairs = plait.draw(rows=arguments.rows, size=arguments.size)
    model = create_model(arguments.image_model, pretrained=False)
    save_timm(model, data_config(model, arguments.size), folder / "image")
    settings = [f"image.model=local-dir:{folder}/image", f"text.model={_text_model()}", f"store={folder}/store"]
    config = plait.configure(overrides=[*settings, "model=late"])
    classifier = Classifier(config).fit(pairs)
    classifier.save(folder / "run")
    export(classifier.engine_, folder / "onnx")
    export(classifier.engine_, folder / "int8", pairs, max_drop=100.0)
    engines = {name: load(folder / name) for name in ("run", "onnx", "int8")}

    table.section("encode")
    encoding.measure(classifier, pairs, table)
    table.section("answer")
    answering.measure(engines, pairs, table)
    table.section("serve")
    serving(folder, table)
    table.section("start")
    starting.measure(folder, pairs, settings, table)


def serving(folder: Path, table: Table) -> None:
    """Good requests from clients that each wait for their answer; they share the machine with the server."""
    for name in ("run", "int8"):
        server, port = serve.start(folder / name, [])
        try:
            for clients in CLIENTS:
                tally = serve.load(port, clients, SECONDS, kinds=["good"])
                waited = {f"p{share}_ms": float(np.percentile(tally.times, share)) * 1000 for share in (50, 99)}
                rows = tally.statuses["good 200"] / SECONDS
                table.add(f"{name}, {clients} clients", rows_a_second=rows, **waited)
        finally:
            server.terminate()
            server.wait(60)


def _text_model() -> str:
    try:
        load_sentence_encoder("minilm", plait.configure().text)
        return "minilm"
    except PlaitError:
        return "tfidf"


if __name__ == "__main__":
    main()
