"""Which column of a source holds what: named by the user, else guessed from the usual names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from plait.errors import DataError, and_more, did_you_mean, setting

NONE = "none"  # in place of a name: there is no such column, on purpose
MODALITIES = ("image", "text")

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


KEPT = "kept:"  # before the name of a column that is kept as it is, beside those with a role
SHARED = ("pair", "text", "image")  # what rows may share to be of one group, where ``data.group`` names no column


@dataclass(frozen=True)
class Columns:
    """The user's names for the columns. None: guess (but a group, which is then not read); ``"none"``: there is none.

    Attributes:
        known: (role, name) of the training table: taken before a guess where this table has such a name.
        needed: image, text: which of them must have a column, unless the user says that there is none.
        beside: it is read beside the training table, and the user's names are for both.
        kept: further columns that the table of pairs is to have, as text, each under `KEPT` and its name.
    """

    id: str | None = None
    image: str | None = None
    text: str | None = None
    label: str | None = None
    group: str | None = None
    known: tuple[tuple[str, str], ...] = ()
    needed: tuple[str, ...] = ()
    beside: bool = False
    kept: tuple[str, ...] = ()

    @property
    def named(self) -> dict[str, str]:
        """What the user says of each role."""
        roles = [one.name for one in fields(self) if one.name not in ("known", "needed", "beside", "kept")]
        return {role: name for role in roles if (name := getattr(self, role)) is not None}


def group_column(group: str) -> str | None:
    """The column that a value of ``data.group`` names; None for ``pair``, ``text``, ``image`` and joined ones."""
    return None if set(group.split("+")) <= set(SHARED) else group


def resolve(columns: Columns, names: Sequence[str], where: str) -> dict[str, str]:
    """Say which of `names` holds the id, image, text, label and split; roles without a column are left out.

    Raises DataError where a column named by the user is not there or is named twice (a group, and what is kept, may be
    anything else, too), where a needed one is not found, or where there is neither an image nor a text column.
    """
    named = columns.named
    chosen = {role: name for role, name in named.items() if name != NONE and role != "group"}
    for role, name in chosen.items():
        if name not in names:
            raise DataError(f"{where}: no column '{name}' for data.{role}.{did_you_mean(name, names)}")
        other = next(r for r, n in chosen.items() if n == name)
        if other != role:
            raise DataError(
                f"{where}: column '{name}' is named for both data.{other} and data.{role}; name two columns"
            )
    for role, name in columns.known:
        if role.startswith(KEPT):
            continue
        if role not in {"group", *named, *chosen} and name in names and name not in chosen.values():
            chosen[role] = name
    for role, guesses in GUESSES.items():
        if role not in {*named, *chosen}:
            guess = _guess(guesses, [name for name in names if name not in chosen.values()])
            if guess is not None:
                chosen[role] = guess
    for role in columns.needed:
        if role not in {*named, *chosen}:
            raise DataError(f"{where}: {_missing(role, columns, [name for name in names if name])}")
    if "image" not in chosen and "text" not in chosen:
        raise DataError(
            f"{where}: neither an image nor a text column among {', '.join(names)}; "
            f"name them with {setting('data.image=COLUMN', 'data.text=COLUMN')}"
        )
    if columns.group is not None:
        if columns.group not in names:
            hint = did_you_mean(columns.group, [*names, *SHARED])
            raise DataError(f"{where}: no column '{columns.group}' for data.group.{hint}")
        chosen["group"] = columns.group
    for name in columns.kept:
        if name not in names:
            raise DataError(f"{where}: no column '{name}' to keep.{did_you_mean(name, names)}")
        chosen[f"{KEPT}{name}"] = name
    return chosen


def _missing(role: str, columns: Columns, names: Sequence[str]) -> str:
    """Why a needed column is not there, and what to do."""
    name = next((name for known, name in columns.known if known == role), None)
    who = "the training rows have" if columns.beside else "the run reads"
    reads = f"{who} {'an image' if role == 'image' else 'a text'}"
    if name is None:
        why, close = f"{reads}, and no column of this table has a usual name for it", ""
    else:
        why, close = f"{reads} from column '{name}', and this table has no such column", did_you_mean(name, names)
    if columns.beside:
        remedy = "rename its column, or add one, which may be empty"
    else:
        named, none = setting(f"data.{role}=COLUMN"), setting(f"data.{role}={NONE}")
        remedy = f"name it with {named}, or say that there is none with {none}"
    hint = f".{close}" if close.startswith(" Did you mean") else ""
    return f"{why} (columns: {and_more(list(names), 12)}); {remedy}{hint}"


def rivals(role: str, taken: dict[str, str], names: Sequence[str]) -> list[str]:
    """Columns that have a usual name for a role and were not taken for any."""
    return [name for name in names if name not in taken.values() and name.lower() in GUESSES.get(role, ())]


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
