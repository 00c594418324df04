"""The confusion matrix as a drawing that stays readable at a hundred classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

LEVELS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
MOST_CLASSES = 120
LABEL_LETTERS = 24


@dataclass(frozen=True)
class HeatMap:
    """A drawing and what its hovering needs.

    Attributes:
        svg: inline SVG; its colours are the page's CSS variables.
        data: labels in drawn order, rows of each, filled cells as [row, column, count], and the drawing's measures.
        classes: how many classes are drawn; fewer than K where K is above 120.
    """

    svg: str
    data: dict[str, Any]
    classes: int


def confusion_matrix(answers: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """(K, K) int64 counts: row is the true class, column the answer."""
    return np.bincount(targets * k + answers, minlength=k * k).reshape(k, k)


def top_confusions(counts: np.ndarray, labels: list[str], shown: int = 25) -> list[tuple[str, str, int, float]]:
    """The most frequent mistakes: true label, answer, how many rows, and their share 0..1 of the true class's rows."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:shown]
    pairs = [divmod(int(cell), len(labels)) for cell in order]
    return [
        (labels[r], labels[c], int(wrong[r, c]), float(wrong[r, c] / counts[r].sum())) for r, c in pairs if wrong[r, c]
    ]


def seriate(counts: np.ndarray) -> np.ndarray:
    """(K,) an order of the classes that puts those taken for one another side by side.

    Leaves of an average-linkage tree over confusion rates, turned for the least distance between neighbours
    (Bar-Joseph et al. 2001, https://doi.org/10.1093/bioinformatics/17.suppl_1.S22).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return np.arange(len(counts))
    rates = shares(counts)
    distance = 1 - np.clip(rates + rates.T, 0, 1)
    np.fill_diagonal(distance, 0)
    return np.asarray(leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True)))


def shares(counts: np.ndarray) -> np.ndarray:
    """(K, K) counts as shares 0..1 of each row; a row of zeros stays zero."""
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1))


def heat_map(counts: np.ndarray, labels: list[str]) -> HeatMap:
    """Draw (K, K) counts, shaded by share of the true class; the most confused 120 classes where there are more."""
    wrong = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES])
    totals = counts.sum(1)[kept]
    inside = counts[np.ix_(kept, kept)]
    order = seriate(inside)
    inside, totals = inside[np.ix_(order, order)], totals[order]
    names = [labels[int(c)] for c in kept[order]]
    k = len(names)
    cell = min(44.0, max(10.0, 520 / k))
    font = min(13.0, cell * 0.84)
    margin = 16 + font * max(ems(short(name)) for name in names)
    filled = [[int(r), int(c), int(inside[r, c])] for r, c in zip(*np.nonzero(inside), strict=True)]
    data = {"labels": names, "totals": totals.tolist(), "cells": filled, "cell": cell, "margin": margin}
    rates = inside / np.maximum(totals[:, None], 1)
    return HeatMap(draw(filled, rates, names, cell, font, margin), data, k)


def draw(filled: list[list[int]], rates: np.ndarray, names: list[str], cell: float, font: float, margin: float) -> str:
    from html import escape

    k, side = len(names), len(names) * cell
    total = margin + side + 1
    paths: dict[str, list[str]] = {}
    for r, c, _ in filled:
        key = f"{'d' if r == c else 'e'}{1 + int(np.searchsorted(LEVELS[:-1], rates[r, c]))}"
        step = cell - 0.6
        square = f"M{margin + c * cell:.4g} {margin + r * cell:.4g}h{step:.3g}v{step:.3g}h-{step:.3g}z"
        paths.setdefault(key, []).append(square)
    marks = [f'<path class="{key}" d="{"".join(squares)}"/>' for key, squares in sorted(paths.items())]
    if k <= 20:
        for r, c, n in filled:
            shade = "n over" if rates[r, c] > LEVELS[3] else "n"
            x, y = margin + (c + 0.5) * cell, margin + (r + 0.5) * cell + 4
            marks.append(f'<text class="{shade}" x="{x:.1f}" y="{y:.1f}">{n}</text>')
    for i, name in enumerate(names):
        word, middle = escape(short(name)), margin + (i + 0.5) * cell + font * 0.34
        marks.append(f'<text class="r" x="{margin - 5:.1f}" y="{middle:.1f}">{word}</text>')
        marks.append(f'<text class="c" transform="translate({middle:.1f} {margin - 5:.1f}) rotate(-90)">{word}</text>')
    return (
        f'<svg viewBox="0 0 {total:.0f} {total:.0f}" width="{total:.0f}" style="min-width:{0.8 * total:.0f}px"'
        f' font-size="{font:.1f}" role="img"'
        f' aria-label="Confusion matrix of {k} classes; the table lists the most frequent mistakes.">'
        f'<rect class="field" x="{margin:.1f}" y="{margin:.1f}" width="{side:.1f}" height="{side:.1f}"/>'
        f"{''.join(marks)}"
        f'<rect class="cross" x="0" y="0" width="{total:.0f}" height="{cell:.1f}"/>'
        f'<rect class="cross" x="0" y="0" width="{cell:.1f}" height="{total:.0f}"/></svg>'
    )


def short(label: str, letters: int = LABEL_LETTERS) -> str:
    """One line of at most `letters` characters."""
    label = " ".join(label.split())
    return label if len(label) <= letters else label[: letters - 1] + "…"


def ems(label: str) -> float:
    """About how wide a label is, in units of the font size: East Asian letters are square, others a good half."""
    from unicodedata import east_asian_width

    return sum(1.0 if east_asian_width(letter) in "WF" else 0.58 for letter in label)
