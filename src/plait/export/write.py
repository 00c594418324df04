"""`plait export`: a run as ONNX graphs, tokenizer and preprocessing; a folder that predicts without PyTorch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plait.data.checks import require_known_labels, require_labels
from plait.data.pairs import Pairs
from plait.encoders.base import ImageEncoder, TextEncoder
from plait.encoders.image import TimmEncoder
from plait.encoders.joined import FOLDER, JoinedImageEncoder
from plait.encoders.onnx import MODEL, SETTINGS, TOKENIZER
from plait.encoders.prompts import FIELD, prompted
from plait.encoders.text import SentenceEncoder
from plait.encoders.tfidf import TfidfEncoder
from plait.errors import EncoderError, RunError, option
from plait.export import graphs
from plait.export.quantise import quantise
from plait.files import require_free
from plait.inference.engine import Engine
from plait.inference.torch_head import TorchHead
from plait.progress import say
from plait.runs.folder import describe, write_folder
from plait.runs.manifest import EXPORTED, GRAPH
from plait.runs.open import load

ROOM = 512  # tokens, where an encoder names no limit
WARM = 64  # rows that are not timed


@dataclass(frozen=True)
class Measured:
    """One engine on the same labelled rows.

    Attributes:
        accuracy: 0 to 1. rows_a_second: from raw pairs to answers.
    """

    accuracy: float
    rows_a_second: float


def export(
    engine: Engine, folder: Path, data: Any = None, max_drop: float | None = None, overwrite: bool = False
) -> dict[str, Measured]:
    """Write a fitted engine as ONNX graphs; the folder appears whole or not at all.

    Args:
        data: labelled rows to measure on, anything `plait.read` takes; 8-bit ranges are taken from some of them.
        max_drop: percentage points of accuracy that 8-bit integers may cost; None keeps 32 bits.

    Returns:
        The run and its export, measured on `data`; empty without.

    Raises:
        RunError: the folder is taken, the engine is an export, a part has no graph, or more accuracy is lost.
    """
    _require_fitted(engine)
    require_free(folder, overwrite)
    if data is None:
        if max_drop is not None:
            raise RunError(
                f"8-bit ranges and the accuracy they cost need labelled rows; give {option('--data DATA', 'data')}"
            )
        write_folder(folder, lambda part: _write(engine, part), overwrite)
        return {}
    pairs = engine.read(data, labelled=True)
    before = measure(engine, pairs)
    if max_drop is None:
        return _measured(engine, folder, (pairs, before), None, overwrite)
    try:
        return _measured(engine, folder, (pairs, before), Int8(max_drop), overwrite)
    except _TooMuchError as lost:
        say(f"8 bits throughout cost {lost.points:.2f} points; trying with the touchy layers in 32 bits ...")
    try:
        return _measured(engine, folder, (pairs, before), Int8(max_drop, careful=True), overwrite)
    except _TooMuchError as lost:
        raise RunError(
            f"8-bit integers cost {lost.points:.2f} points of accuracy on '{pairs.source}', more than "
            f"{option('--max-drop', 'max_drop')} {max_drop:g}; nothing was written: raise it, or export without "
            f"{option('--int8', 'max_drop')}"
        ) from None


@dataclass(frozen=True)
class Int8:
    """What 8-bit integers may cost, in percentage points, and whether touchy layers are spared."""

    max_drop: float
    careful: bool = False


class _TooMuchError(Exception):
    def __init__(self, points: float):
        super().__init__(points)
        self.points = points


def _measured(
    engine: Engine, folder: Path, rows: tuple[Pairs, Measured], int8: Int8 | None, overwrite: bool
) -> dict[str, Measured]:
    """Write an export and measure it; `rows` come with what the run itself does on them."""
    pairs, before = rows
    measured = {"run": before}

    def write(part: Path) -> dict[str, Any]:
        manifest = _write(engine, part)
        if int8 is not None:
            quantise(engine.encoders.opened(), pairs, part, int8.careful)
        return manifest

    def check(part: Path) -> None:
        measured["export"] = measure(load(part), pairs)
        drop = 100 * (before.accuracy - measured["export"].accuracy)
        if int8 is not None and drop > int8.max_drop:
            raise _TooMuchError(drop)

    write_folder(folder, write, overwrite, check)
    return measured


def measure(engine: Engine, pairs: Pairs) -> Measured:
    """Accuracy on labelled rows, and rows a second from raw pairs to answers, nothing from a store."""
    require_known_labels(pairs, engine.labels)
    labels = np.array(require_labels(pairs))
    engine.predict_proba(pairs.select(range(min(len(pairs), WARM))))
    start = time.perf_counter()
    answers = np.array(engine.labels)[engine.predict_proba(pairs).argmax(1)]
    return Measured(float((answers == labels).mean()), len(pairs) / (time.perf_counter() - start))


def _require_fitted(engine: Engine) -> TorchHead:
    """The head, which must be PyTorch's."""
    if not isinstance(engine.head, TorchHead):
        raise RunError(
            f"'{engine.folder}' is an exported run, which answers only: predict, evaluate, serve and app take it; give "
            "the run it was made from"
        )
    return engine.head


def _write(engine: Engine, folder: Path) -> dict[str, Any]:
    """Every graph with what belongs to it; returns the manifest."""
    encoders, parts, head = engine.encoders.opened(), dict[str, Any](), _require_fitted(engine)
    if encoders.image is not None:
        parts["image"] = {"folder": FOLDER, **_image(encoders.image, folder / FOLDER)}
    parts["text"] = [
        {"folder": f"text-{i}", **_text(encoder, folder / f"text-{i}")} for i, encoder in enumerate(encoders.text)
    ]
    widths = {modality: head.spec.shape.widths[modality] for modality in engine.modalities}
    graphs.head_graph(head.model, widths, folder / GRAPH)
    described = {"kind": "onnx", "model": engine.model}
    return describe(engine, folder) | {"format": EXPORTED, "encoders": parts, "head": described}


def _image(encoder: ImageEncoder, folder: Path) -> dict[str, Any]:
    if isinstance(encoder, JoinedImageEncoder):
        return encoder.written(folder, _image)
    assert isinstance(encoder, TimmEncoder)
    graphs.image_graph(encoder, folder / MODEL)
    (folder / SETTINGS).write_text(json.dumps(encoder.settings, default=list), "utf-8")
    return {"kind": "onnx", "name": encoder.name, "dim": encoder.dim}


def _text(encoder: TextEncoder, folder: Path) -> dict[str, Any]:
    if isinstance(encoder, TfidfEncoder):
        return encoder.save(folder)
    assert isinstance(encoder, SentenceEncoder)
    graphs.text_graph(encoder, folder / MODEL)
    tokenizer = encoder.model.tokenizer
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(fast, "to_str"):
        raise EncoderError(f"text.model '{encoder.name}': its tokenizer has no tokenizer.json; use another text.model")
    # How it cut and padded the last batch is kept with it, but does not bind the next.
    plain = json.loads(fast.to_str()) | {"truncation": None, "padding": None}
    (folder / TOKENIZER).write_text(json.dumps(plain, ensure_ascii=False), "utf-8")
    template = encoder.prompt if FIELD in encoder.prompt else prompted(encoder.model, [], encoder.prompt)[1]
    return {
        "kind": "onnx", "name": encoder.name, "dim": encoder.dim,
        "batch": encoder.batch, "prompt": template, "max_length": encoder.model.max_seq_length or ROOM,
        "pad": getattr(tokenizer, "pad_token_id", None) or 0,
    }  # fmt: skip
