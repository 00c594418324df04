"""What data must have before it is used. Each message is one line: the culprit and the remedy."""

from __future__ import annotations

from collections.abc import Collection

from plait.data.columns import Columns, resolve
from plait.data.pairs import Pairs
from plait.errors import DataError, and_more, did_you_mean


def require_rows(pairs: Pairs) -> None:
    """Raise DataError where there are no rows."""
    if len(pairs) == 0:
        raise DataError(f"{pairs.source}: no rows; give data with at least one")


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
    empty = resolve(Columns(), pairs.columns, pairs.source).get("label")
    if empty is not None:
        raise DataError(f"{pairs.source}: column '{empty}' holds no label; name another with --set data.label=COLUMN")
    names = ", ".join(name for name in pairs.columns if name)
    raise DataError(f"{pairs.source}: no label column among {names}; name it with --set data.label=COLUMN")


def require_classes(pairs: Pairs) -> list[str]:
    """The distinct labels, sorted. Raises DataError as `require_labels` does, and where there is but one class."""
    classes = sorted(set(require_labels(pairs)))
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


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count} rows have"
