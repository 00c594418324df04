"""One row of answers for each input row, in input order, as CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plait.data.pairs import Pairs
from plait.errors import DataError, option
from plait.files import replacing

FORMATS = (".csv", ".jsonl", ".parquet")
TOP = 5


def rows(
    pairs: Pairs,
    labels: list[str],
    probabilities: np.ndarray,
    effects: dict[str, np.ndarray] | None = None,
    captions: Sequence[str | None] = (),
) -> list[dict[str, Any]]:
    """Answers as plain values.

    Args:
        probabilities: (N, K). effects: (N,) for each modality, see `Engine.effects`.
        captions: (N,) texts that a captioner wrote in the place of missing ones, or none.

    Returns:
        N dicts: ``id, label, confidence, top5`` (list of label and confidence, best first), and ``effect_image``,
        ``effect_text`` where effects are given, and ``machine_text`` where captions are: None for a text of one's own.
    """
    answers = []
    for row, key in enumerate(pairs.ids):
        answer = {"id": key, **answer_of(labels, probabilities[row])}
        for modality, values in (effects or {}).items():
            answer[f"effect_{modality}"] = round(float(values[row]), 6)
        if captions:
            answer["machine_text"] = captions[row]
        answers.append(answer)
    return answers


def answer_of(labels: list[str], probabilities: np.ndarray) -> dict[str, Any]:
    """(K,) probabilities of one row as ``label, confidence, top5``."""
    top = best(labels, probabilities)
    return {**top[0], "top5": top}


def best(labels: list[str], probabilities: np.ndarray, number: int = TOP) -> list[dict[str, Any]]:
    """The most probable labels of one row, best first, each as ``label, confidence``."""
    order = np.argsort(-probabilities, kind="stable")[:number]
    return [{"label": labels[k], "confidence": round(float(probabilities[k]), 6)} for k in order]


def require_format(file: Path) -> None:
    """Raise DataError where a file's ending is none of `FORMATS`, before any work is done."""
    if file.suffix.lower() not in FORMATS:
        raise DataError(f"{option('--out', 'file')} '{file}': unknown ending '{file.suffix}'; use {', '.join(FORMATS)}")
    if file.is_dir():
        raise DataError(f"{option('--out', 'file')} '{file}' is a folder; give a file ending in {', '.join(FORMATS)}")


def write(answers: list[dict[str, Any]], file: Path) -> None:
    """Write answers in the format of the file's ending; the file appears whole or not at all."""
    require_format(file)
    with replacing(file) as part:
        if file.suffix.lower() == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(answers), part)
        else:
            part.write_text(as_text(answers, file.suffix.lower()), "utf-8")


def as_text(answers: list[dict[str, Any]], suffix: str = ".csv") -> str:
    """Answers as CSV (lists, such as the top five, as JSON in one field) or JSON lines."""
    if suffix == ".jsonl":
        return "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    buffer = io.StringIO()
    writer = csv.DictWriter(
        buffer, list(answers[0]) if answers else ["id", "label", "confidence", "top5"], lineterminator="\n"
    )
    writer.writeheader()
    for answer in answers:
        lists = {name: json.dumps(one, ensure_ascii=False) for name, one in answer.items() if isinstance(one, list)}
        writer.writerow({**answer, **lists})
    return buffer.getvalue()
