"""What the items of a request are answered with: the label, how sure it is, the best labels, what was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.inference.predictions import TOP, best
from plait.server.items import Ready
from plait.server.limits import RefusedError

FAILED = "the server failed on this item; its log says where"


def answers_of(
    labels: list[str], items: Sequence[Ready | RefusedError], rows: Sequence[np.ndarray | None], top: int | None = None
) -> list[dict[str, Any]]:
    """Each item as ``label, confidence, top5, modalities``, or ``{"error": ...}``.

    Args:
        rows: (K,) probabilities of each item that is ready; None where the encoders failed on it.
        top: how many labels were asked for; they are then under ``top`` instead of ``top5``.
    """
    left = iter(rows)
    return [
        {"error": item.message} if isinstance(item, RefusedError) else _answer(labels, item, next(left), top)
        for item in items
    ]


def _answer(labels: list[str], item: Ready, row: np.ndarray | None, top: int | None) -> dict[str, Any]:
    if row is None:
        return {"error": FAILED}
    found = best(labels, row, TOP if top is None else top)
    return {**found[0], "top5" if top is None else "top": found, "modalities": item.modalities}
