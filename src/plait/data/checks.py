"""What data must have before it is used. Each message is one line: the culprit and the remedy."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from plait.data.pairs import Pairs
from plait.errors import DataError, and_more, did_you_mean, setting
from plait.progress import say


def require_rows(pairs: Pairs) -> None:
    """Raise DataError where there are no rows."""
    if len(pairs) == 0:
        raise DataError(f"{pairs.source}: no rows; give data with at least one")


def has_any(pairs: Pairs, modality: str) -> bool:
    """Whether any row has an image, or a text."""
    if modality == "image":
        return any(ref is not None for ref in pairs.images())
    return any(
        text and text.strip() for batch in pairs.table.select_columns("text").iter(1000) for text in batch["text"]
    )


def require_labels(pairs: Pairs) -> list[str]:
    """The label of every row, (N,). Raises DataError where there are no rows, no labels, or rows without one."""
    require_rows(pairs)
    labels = [label for label in pairs.labels if label is not None]
    if len(labels) == len(pairs):
        return labels
    if labels:
        first = pairs.labels.index(None)
        raise DataError(
            f"{pairs.source}: {_rows(len(pairs) - len(labels))} no label (first: id '{pairs.ids[first]}'); "
            "fill it in or take the row out"
        )
    if not pairs.columns:
        raise DataError(f"{pairs.source}: no labels; give one a row")
    if "label" in pairs.taken:
        empty = pairs.taken["label"]
        raise DataError(
            f"{pairs.source}: column '{empty}' holds no label; name another with {setting('data.label=COLUMN')}"
        )
    names = ", ".join(name for name in pairs.columns if name)
    raise DataError(f"{pairs.source}: no label column among {names}; name it with {setting('data.label=COLUMN')}")


def require_classes(pairs: Pairs) -> list[str]:
    """The distinct labels, sorted; those that differ only by case are named in a said line.

    Raises DataError as `require_labels` does, and where there is but one class.
    """
    counts = Counter(require_labels(pairs))
    classes = sorted(counts)
    _say_of_case(pairs.source, counts)
    if len(classes) < 2:
        raise DataError(f"{pairs.source}: every row has the label '{classes[0]}'; give rows of at least two classes")
    return classes


def require_known_labels(pairs: Pairs, labels: Collection[str]) -> None:
    """Raise DataError where a row has a label outside `labels`, those seen in training. No label is fine."""
    known = set(labels)
    rows = [row for row, label in enumerate(pairs.labels) if label is not None and label not in known]
    if not rows:
        return
    names = list(dict.fromkeys(f"'{pairs.labels[row]}'" for row in rows))
    first = str(pairs.labels[rows[0]])
    what = f"label {names[0]} was" if len(names) == 1 else f"labels {and_more(names)} were"
    it = "it" if len(names) == 1 else "one of them"
    close = did_you_mean(first, known) if len(names) == 1 and len(known) <= 20 else ""
    raise DataError(
        f"{pairs.source}: {what} never seen in training: {_rows(len(rows))} {it} "
        f"(first: id '{pairs.ids[rows[0]]}'); take the rows out, or train with such rows.{close}"
    )


def _say_of_case(source: str, counts: Counter[str]) -> None:
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts):
        alike[label.casefold()].append(label)
    several = [label for labels in alike.values() if len(labels) > 1 for label in labels]
    if several:
        names = [f"'{label}' ({counts[label]:,} {'row' if counts[label] == 1 else 'rows'})" for label in several]
        say(
            f"warning: {source}: labels that differ only by case: {and_more(names, 8)}; "
            "they are different classes: make them equal if they are meant to be"
        )


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count} rows have"
