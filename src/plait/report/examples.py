"""Rows worth looking at: where fusion mended a modality's mistake, and where it broke a right answer."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from plait.data.images import ImageRef, open_image
from plait.report.findings import right, roles
from plait.report.results import Evaluation

SHOWN = 12
THUMBNAIL = 240


@dataclass(frozen=True)
class Answer:
    """One model's answer on one row; `confidence` in 0..1."""

    model: str
    label: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class Example:
    """One row as the report shows it.

    Attributes:
        picture: a ``data:`` address of a JPEG, or None.
        missing: why there is no picture: "no image" or "unreadable"; empty where there is one.
        text: the row's text, or None.
    """

    id: str
    picture: str | None
    missing: str
    text: str | None
    label: str
    answers: list[Answer]


def mended(evaluation: Evaluation) -> np.ndarray:
    """Rows where a modality was wrong and fusion right, at most 12; mistakes of the better modality come first."""
    part = roles(evaluation)
    wrong = {name: ~right(evaluation, name) for name in part.modalities}
    return pick(evaluation, right(evaluation, part.fusion), wrong)


def broken(evaluation: Evaluation) -> np.ndarray:
    """Rows where a modality was right and fusion wrong, at most 12; right answers of the better modality come first."""
    part = roles(evaluation)
    good = {name: right(evaluation, name) for name in part.modalities}
    return pick(evaluation, ~right(evaluation, part.fusion), good)


def pick(
    evaluation: Evaluation, wanted: np.ndarray, modalities: dict[str, np.ndarray], shown: int = SHOWN
) -> np.ndarray:
    """Choose rows of `wanted` (N,) bool that hold for any of `modalities`, or all of `wanted` where there are none.

    Order: rows that hold for the first modality before the others; among those the surest of each true class, then
    the second surest, and so on; more confident before less, lower row before higher.
    """
    confidence = evaluation.models[roles(evaluation).fusion].probabilities.max(1)
    chosen = wanted & np.any(list(modalities.values()), axis=0) if modalities else wanted
    first = next(iter(modalities.values())) if modalities else wanted
    seen: dict[tuple[bool, int], int] = {}
    ranked = []
    for row in sorted(np.flatnonzero(chosen), key=lambda row: (-confidence[row], row)):
        group = (not first[row], int(evaluation.targets[row]))
        seen[group] = seen.get(group, 0) + 1
        ranked.append((group[0], seen[group], -confidence[row], row))
    return np.array([row for *_, row in sorted(ranked)[:shown]], dtype=np.int64)


def examples(evaluation: Evaluation, rows: np.ndarray) -> list[Example]:
    """The given rows with their pictures, texts and every model's answer."""
    given = {name: model.answers for name, model in evaluation.models.items()}
    shown = []
    for row, ref in zip(rows.tolist(), evaluation.pairs.images(rows.tolist()), strict=True):
        picture, missing = thumbnail(ref)
        said = []
        for name, model in evaluation.models.items():
            c = int(given[name][row])
            is_right = c == evaluation.targets[row]
            said.append(Answer(name, evaluation.labels[c], float(model.probabilities[row, c]), bool(is_right)))
        label = evaluation.labels[int(evaluation.targets[row])]
        text = evaluation.pairs.texts[row]
        shown.append(Example(evaluation.pairs.ids[row], picture, missing, text, label, said))
    return shown


def thumbnail(ref: ImageRef | None, size: int = THUMBNAIL) -> tuple[str | None, str]:
    """A JPEG of at most `size` pixels a side as a ``data:`` address, or why there is none: "no image", "unreadable"."""
    if ref is None:
        return None, "no image"
    try:
        image = open_image(ref.load(), size)
    except Exception:  # a file, a URL or a decoder may fail in any way; the report goes on
        return None, "unreadable"
    image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), ""
