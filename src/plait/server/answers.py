"""Items of several requests computed together, and handed back to each."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.inference.answers import answer_of
from plait.inference.engine import Engine
from plait.server.items import Ready
from plait.server.limits import RefusedError
from plait.server.logs import log
from plait.server.service import Service


def answer(service: Service, asked: list[list[Ready | RefusedError]]) -> list[list[dict[str, Any]]]:
    """Answers of each request's items, in their order: what `plain` gives, or ``{"error": ...}``."""
    ready = [item for items in asked for item in items if isinstance(item, Ready)]
    found: list[dict[str, Any]] = []
    for start in range(0, len(ready), service.batch):
        part = ready[start : start + service.batch]
        service.metrics.batches.observe(len(part))
        found += _together(service.engine, part)
    service.metrics.items.add(sum("error" not in one for one in found))
    answers = iter(found)
    return [
        [next(answers) if isinstance(item, Ready) else {"error": item.message} for item in items] for items in asked
    ]


def plain(labels: list[str], probabilities: np.ndarray, modalities: list[str]) -> dict[str, Any]:
    """One row of (K,) probabilities as ``label, confidence, top5, modalities``."""
    return {**answer_of(labels, probabilities), "modalities": modalities}


def _together(engine: Engine, items: list[Ready]) -> list[dict[str, Any]]:
    """Answers of one batch. An item that the encoders fail on does not take the others with it."""
    try:
        features = engine.encode([item.pixels for item in items], [item.text for item in items])
        rows = engine.probabilities(features)
        if not np.isfinite(rows).all():
            raise FloatingPointError("a probability is not a number")
        return [plain(engine.labels, row, item.modalities) for row, item in zip(rows, items, strict=True)]
    except Exception as error:
        if len(items) > 1:
            return [one for item in items for one in _together(engine, [item])]
        log("item_failed", level=40, error=error)
        return [{"error": "the server failed on this item; its log says where"}]
