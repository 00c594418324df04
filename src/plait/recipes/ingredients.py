"""Lists of ingredients: read, compared as sets, and looked for in what somebody wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable

SEPARATORS = re.compile(r"[\n;|]|,(?!\d)")
UNITS = "g|kg|ml|l|oz|lb|cups?|tbsp|tsp|tablespoons?|teaspoons?|pinch(?:es)?"
AMOUNT = re.compile(rf"^[\d\s./,½¼¾⅓⅔–-]*(?:(?:{UNITS})\b\.?)?(?:\s+of\b)?\s*")
WORD = re.compile(r"[^\W_]+")
NOTE = re.compile(r"\([^)]*\)")


def ingredients_of(value: str | None) -> frozenset[str]:
    """Ingredients of a cell: a JSON list, or names parted by commas, semicolons, bars or lines; without amounts.

    >>> sorted(ingredients_of("200 g Flour, 2 eggs; salt (to taste)"))
    ['eggs', 'flour', 'salt']
    """
    if not value or not value.strip():
        return frozenset()
    parts: Iterable[str]
    try:
        found = json.loads(value)
        parts = [str(one) for one in found] if isinstance(found, list) else [value]
    except ValueError:
        parts = SEPARATORS.split(value)
    names = (AMOUNT.sub("", NOTE.sub("", part).strip().lower()).strip(" .") for part in parts)
    return frozenset(name for name in names if name)


def f1(found: Collection[str], wanted: Collection[str]) -> float:
    """Harmonic mean of precision and recall of two sets, 0 to 1; 1 where both are empty."""
    found, wanted = set(found), set(wanted)
    return 2 * len(found & wanted) / (len(found) + len(wanted)) if found or wanted else 1.0


def iou(found: Collection[str], wanted: Collection[str]) -> float:
    """Intersection over union of two sets, 0 to 1; 1 where both are empty."""
    found, wanted = set(found), set(wanted)
    return len(found & wanted) / len(found | wanted) if found or wanted else 1.0


def named_in(text: str, known: Iterable[str]) -> set[str]:
    """Those of the known ingredients that a text names as whole words, but none that is part of a longer one there."""
    left, found = f" {_words(text)} ", set()
    for name in sorted(known, key=len, reverse=True):
        words = f" {_words(name)} "
        if words.strip() and words in left:
            found.add(name)
            left = left.replace(words, "  ")
    return found


def _words(text: str) -> str:
    return " ".join(WORD.findall(text.lower()))
