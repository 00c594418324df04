"""Which column of a source holds what: named by the user, else guessed from the usual names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from plait.errors import DataError, did_you_mean

# In order of preference; letter case is ignored.
GUESSES: dict[str, tuple[str, ...]] = {
    "image": (
        *("image", "img", "image_path", "img_path", "path", "file", "file_name", "filename", "file_path", "filepath"),
        *("photo", "picture", "image_file", "image_url", "img_url", "url"),
    ),
    "text": ("text", "title", "caption", "description", "name", "sentence", "product_name", "product_title"),
    "label": ("label", "labels", "class", "class_name", "category", "target", "food", "y"),
    "id": ("id", "_id"),
    "split": ("split",),
}

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


SHARED = ("pair", "text", "image")  # what rows may share to be of one group, where ``data.group`` names no column


@dataclass(frozen=True)
class Columns:
    """The user's names for the columns; None: guess (but a group, which is then not read)."""

    id: str | None = None
    image: str | None = None
    text: str | None = None
    label: str | None = None
    group: str | None = None


def group_column(group: str) -> str | None:
    """The column that a value of ``data.group`` names; None for ``pair``, ``text``, ``image`` and joined ones."""
    return None if set(group.split("+")) <= set(SHARED) else group


def resolve(columns: Columns, names: Sequence[str], where: str) -> dict[str, str]:
    """Say which of `names` holds the id, image, text, label and split; roles without a column are left out.

    Raises DataError where a column named by the user is not there or is named twice (a group may be anything else,
    too), or where there is neither an image nor a text column.
    """
    chosen = {role: name for role, name in asdict(columns).items() if name is not None and role != "group"}
    for role, name in chosen.items():
        if name not in names:
            raise DataError(f"{where}: no column '{name}' for data.{role}.{did_you_mean(name, names)}")
        other = next(r for r, n in chosen.items() if n == name)
        if other != role:
            raise DataError(
                f"{where}: column '{name}' is named for both data.{other} and data.{role}; name two columns"
            )
    for role, guesses in GUESSES.items():
        if role not in chosen:
            guess = _guess(guesses, [name for name in names if name not in chosen.values()])
            if guess is not None:
                chosen[role] = guess
    if "image" not in chosen and "text" not in chosen:
        raise DataError(
            f"{where}: neither an image nor a text column among {', '.join(names)}; "
            "name them with --set data.image=COLUMN --set data.text=COLUMN"
        )
    if columns.group is not None:
        if columns.group not in names:
            hint = did_you_mean(columns.group, [*names, *SHARED])
            raise DataError(f"{where}: no column '{columns.group}' for data.group.{hint}")
        chosen["group"] = columns.group
    return chosen


def _guess(guesses: Sequence[str], names: Sequence[str]) -> str | None:
    for guess in guesses:
        same = [name for name in names if name.lower() == guess]
        if same:
            return guess if guess in same else same[0]
    return None


def is_split_name(name: str) -> bool:
    """Whether the word is a usual name of a split: train, dev, validation, test..."""
    return name.lower() in _SPLIT_NAMES


def split_name(name: str) -> str:
    """The one spelling of a split's name: dev, valid and validation are 'val'; other names stay as they are."""
    return _SPLIT_NAMES.get(name.strip().lower(), name.strip())


def split_order(name: str) -> tuple[int, str]:
    """Sort key of split names: train, then val and any other, test last."""
    return {"train": 0, "val": 1, "test": 3}.get(name, 2), name
