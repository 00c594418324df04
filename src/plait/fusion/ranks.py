"""How well one side of pairs finds the other: recall@k and median rank, over all rows and over bags of 1,000."""

from __future__ import annotations

import numpy as np

CUTS = (1, 5, 10)
BAG, BAGS = 1000, 10  # rows of a bag, and bags: the protocol of Recipe1M (Salvador et al. 2017)
_BLOCK = 1024


def ranks(queries: np.ndarray, targets: np.ndarray, keys: np.ndarray, target_keys: np.ndarray) -> np.ndarray:
    """The rank of the best right answer to each query, (N,) int64 from 1; ties count against it.

    Args:
        queries: (N, D) float. targets: (M, D) float; similarity is the inner product.
        keys: (N,) and target_keys: (M,) int64: a target is right where it has the query's key: one a row, or one a
            class.

    Raises:
        ValueError: a query has no right answer.
    """
    found = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, start + _BLOCK)
        scores = queries[part] @ targets.T
        right = keys[part, None] == target_keys[None]
        if not right.any(1).all():
            raise ValueError(f"query {start + int(np.argmin(right.any(1)))} has no right answer")
        best = np.where(right, scores, -np.inf).max(1, keepdims=True)
        found[part] = 1 + ((scores >= best) & ~right).sum(1)
    return found


def summary(found: np.ndarray) -> dict[str, float]:
    """``recall@1``, ``recall@5``, ``recall@10`` (shares, 0 to 1) and ``median_rank`` of (N,) ranks."""
    return {f"recall@{cut}": float((found <= cut).mean()) for cut in CUTS} | {"median_rank": float(np.median(found))}


def both_ways(image: np.ndarray, text: np.ndarray, keys: np.ndarray, seed: int = 0) -> dict[str, dict[str, float]]:
    """Pictures finding texts and texts finding pictures, each as of `summary`.

    Args:
        image, text: (N, D), row by row. keys: (N,) int64, as of `ranks`.
        seed: of the bags.

    Returns:
        ``image_to_text`` and ``text_to_image`` over all rows; where there are more than `BAG` of them also
        ``image_to_text_1k`` and ``text_to_image_1k``, the means of `BAGS` bags.
    """
    found = _ways(image, text, keys)
    if len(keys) <= BAG:
        return found
    draw = np.random.default_rng(seed)
    bags = [draw.choice(len(keys), BAG, replace=False) for _ in range(BAGS)]
    parts = [_ways(image[rows], text[rows], keys[rows]) for rows in bags]
    for way in tuple(found):
        found[f"{way}_1k"] = {name: float(np.mean([part[way][name] for part in parts])) for name in found[way]}
    return found


def _ways(image: np.ndarray, text: np.ndarray, keys: np.ndarray) -> dict[str, dict[str, float]]:
    return {
        "image_to_text": summary(ranks(image, text, keys, keys)),
        "text_to_image": summary(ranks(text, image, keys, keys)),
    }
