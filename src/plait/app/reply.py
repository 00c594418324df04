"""What an engine says of one picture and its title: both, each alone, and which of them decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.features.encode import Features
from plait.inference.engine import Engine
from plait.inference.predictions import TOP
from plait.report.html import sure

NAMES = {"image": "picture", "text": "title"}
LITTLE = 0.1  # of probability; what moves an answer by less did not decide it


@dataclass(frozen=True)
class Column:
    """One answer: its name, and the best labels with their probabilities, best first."""

    name: str
    modality: str
    top: list[tuple[str, float]]


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        label: the most probable label, and its probability in `sureness`.
        index: the label's number.
        columns: of both modalities together, then of each alone; one where only one is given.
        verdict: which modality decided, in one sentence. detail: the figures behind it, or empty.
    """

    label: str
    sureness: float
    index: int
    columns: list[Column]
    verdict: str
    detail: str


def reply(engine: Engine, pixels: np.ndarray | None, text: str | None) -> Reply:
    """Answer for a picture, (3, H, W) uint8 as `Engine.decode` gives it, and a text; at most one of them is None."""
    found = engine.encode([pixels], [text])
    given = [modality for modality, one in found.items() if one.present[0]]
    full = engine.probabilities(found)[0]
    index = int(full.argmax())
    first = ("together", "both") if len(given) != 1 else (f"{NAMES[given[0]]} alone", given[0])
    columns = [_column(engine, *first, full)]
    if len(given) > 1:
        for modality in given:
            alone = engine.probabilities(
                {other: one if other == modality else one.hidden() for other, one in found.items()}
            )[0]
            columns.append(_column(engine, f"{NAMES[modality]} alone", modality, alone))
    verdict, detail = _verdict(engine, found, given, columns)
    return Reply(engine.labels[index], float(full[index]), index, columns, verdict, detail)


def read_text(engine: Engine, text: str | None) -> str | None:
    """A text as the engine reads it: cleaned where its configuration says so; None where nothing is left."""
    if not text or not text.strip():
        return None
    return engine.clean(text)


def _column(engine: Engine, name: str, modality: str, probabilities: np.ndarray) -> Column:
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    return Column(name, modality, [(engine.labels[k], float(probabilities[k])) for k in order])


def _verdict(engine: Engine, found: dict[str, Features], given: list[str], columns: list[Column]) -> tuple[str, str]:
    """Which modality decided, by how much the answer loses without it."""
    label, sureness = columns[0].top[0]
    if len(given) < 2:
        if len(engine.modalities) < 2:
            return f"This run reads {NAMES[engine.modalities[0]]}s only.", ""
        missing = NAMES["text" if given == ["image"] else "image"]
        return f"By the {NAMES[given[0]]} alone: there is no {missing}.", ""
    moved = {modality: float(values[0]) for modality, values in engine.effects(found).items()}
    alone = {column.modality: column.top[0][0] for column in columns[1:]}
    lead, other = sorted(moved, key=lambda modality: (alone[modality] != label, -moved[modality]))
    without = [
        f"{sure(max(0.0, sureness - moved[modality]))} without the {NAMES[modality]}" for modality in (lead, other)
    ]
    detail = f"{label}: {sure(sureness)} with both, {without[0]}, {without[1]}."
    if alone[lead] != label:
        return "Neither says so alone; together they do.", detail
    if alone[other] != label:
        return f"The {NAMES[lead]} decided; the {NAMES[other]} alone says {alone[other]}.", detail
    if moved[lead] < LITTLE:
        return "Picture and title agree; either alone would have been enough.", detail
    if moved[other] > moved[lead] / 2:
        return "Picture and title agree, and both were needed to be this sure.", detail
    return f"Picture and title agree; the {NAMES[lead]} counted more.", detail
