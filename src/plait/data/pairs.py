"""`Pairs`: the table every other part of plait works on.

One row is one pair: an image and a text that belong together, either of which may be missing, and
a label where it is known. The columns live in one Arrow table (Hugging Face `datasets`, memory-mapped
when it was read from disk), so the image and the text of a row cannot part.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.data.cleaning import clean
from plait.data.images import GONE, ImageRef, as_image, content_hash, image_ref
from plait.errors import DataError
from plait.progress import bar

if TYPE_CHECKING:
    from datasets import Dataset, Features

COLUMNS = ("id", "image", "text", "label")
FETCHING = 16  # threads that wait for URLs
GROUP = "group"  # a column that a table has where ``data.group`` names one of its source


def features() -> Features:
    """The Arrow schema of a pairs table: strings, and images as ``{bytes, path}`` left undecoded."""
    from datasets import Features, Value
    from datasets import Image as ImageFeature

    text = Value("string")
    return Features({"id": text, "image": ImageFeature(decode=False), "text": text, "label": text})


@dataclass(frozen=True)
class Pairs:
    """A table of pairs.

    Attributes:
        table: Arrow-backed `datasets.Dataset` with exactly the columns of `COLUMNS`, in the schema of `features()`,
            and `GROUP` and further ones where the source was read with them (see `plait.data.columns.Columns`).
        source: what it was read from, for messages.
        splits: names of the splits and the rows of each, where the source gave them.
        columns: names of the columns that the source had, for messages.
        cleaned: `texts`, and so their hashes, are without what `plait.data.cleaning.clean` takes out;
            the table keeps it.
        taken: which of the columns was taken for which role (id, image, text, label, split).
        ignored: the columns that were taken for none.
        root: the folder or URL that relative image paths were put under; empty where there was not one for all.
    """

    table: Dataset
    source: str = "pairs"
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    cleaned: bool = False
    taken: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    root: str = ""

    @classmethod
    def from_columns(
        cls,
        images: Sequence[Any] | None = None,
        texts: Sequence[str | None] | None = None,
        labels: Sequence[Any] | None = None,
        ids: Sequence[Any] | None = None,
        source: str = "pairs",
    ) -> Pairs:
        """Make pairs from Python lists of one length.

        Images may be paths, URLs, encoded bytes, Pillow images or None; labels of any type become strings as
        `as_label` makes them; ids default to row numbers. Raises DataError where the lengths differ.
        """
        given = {"images": images, "texts": texts, "labels": labels, "ids": ids}
        lengths = {name: len(column) for name, column in given.items() if column is not None}
        if len(set(lengths.values())) > 1:
            raise DataError(f"columns of different lengths: {lengths}; give one value (or None) a row")
        n = next(iter(lengths.values()), 0)
        none: list[None] = [None] * n
        return cls.from_dict(
            {
                "id": [str(i) for i in (ids if ids is not None else range(n))],
                "image": [as_image(image) for image in (images if images is not None else none)],
                "text": [None if t is None else str(t) for t in (texts if texts is not None else none)],
                "label": [None if v is None else as_label(v) for v in (labels if labels is not None else none)],
            },
            source,
        )

    @classmethod
    def from_dict(cls, columns: dict[str, list[Any]], source: str = "pairs") -> Pairs:
        """Make pairs from lists that already have the schema of `features()`."""
        from datasets import Dataset

        return cls(Dataset.from_dict(columns, features=features()), source)

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> list[Any]:
        """All values of one column of the table."""
        values: list[Any] = self.table[name][:]  # at once: row by row takes a hundred times as long
        return values

    @cached_property
    def ids(self) -> list[str]:
        return self.column("id")

    @cached_property
    def labels(self) -> list[str | None]:
        return [label or None for label in self.column("label")]

    @cached_property
    def texts(self) -> list[str | None]:
        """One text a row; None where it is missing or blank."""
        texts = (text if text and text.strip() else None for text in self.column("text"))
        return [clean(text) if self.cleaned and text is not None else text for text in texts]

    def images(self, rows: Sequence[int] | None = None) -> Iterator[ImageRef | None]:
        """One image reference a row, in order, read from Arrow in small batches; None where it is missing."""
        table = self.table if rows is None else self.table.select(rows)
        for batch in table.select_columns("image").iter(batch_size=64):
            for image in batch["image"]:
                yield image_ref(image)

    @cached_property
    def has_image(self) -> np.ndarray:
        """(N,) bool: the row has image bytes or a path (whether they can be read shows when they are)."""
        return np.fromiter((ref is not None for ref in self.images()), dtype=bool, count=len(self))

    @cached_property
    def has_text(self) -> np.ndarray:
        """(N,) bool: the row has a text that is not blank."""
        return np.fromiter((text is not None for text in self.texts), dtype=bool, count=len(self))

    @cached_property
    def _file_hashes(self) -> tuple[list[bytes | None], dict[int, str]]:
        """As `image_hashes`, of embedded and local images: nothing is downloaded."""
        hashes: list[bytes | None] = []
        reasons: dict[int, str] = {}
        with bar("look at images", len(self)) as advance:
            for row, ref in enumerate(self.images()):
                hashes.append(None if ref is None or ref.is_remote else _hashed(ref, row, reasons))
                advance(1)
        return hashes, reasons

    @cached_property
    def image_hashes(self) -> tuple[list[bytes | None], dict[int, str]]:
        """Content hash of each row's image, None without one; and why some rows' files cannot be opened."""
        hashes, reasons = list(self._file_hashes[0]), dict(self._file_hashes[1])
        remote = [row for row in np.flatnonzero(self.has_image).tolist() if hashes[row] is None and row not in reasons]
        with bar("fetch images", len(remote)) as advance, ThreadPoolExecutor(FETCHING, "plait-fetch") as pool:
            refs = (
                (ref, row, reasons) for row, ref in zip(remote, self.images(remote), strict=True) if ref is not None
            )
            for row, found in zip(remote, pool.map(lambda one: _hashed(*one), refs), strict=True):
                hashes[row] = found
                advance(1)
        return hashes, reasons

    @cached_property
    def text_hashes(self) -> list[bytes | None]:
        """Content hash of each row's text, None where it is missing or blank."""
        return [content_hash(text.encode()) if text is not None else None for text in self.texts]

    @cached_property
    def image_keys(self) -> list[bytes | None]:
        """16 bytes that name each row's image: by its content, by its address where it is a URL or cannot be read."""
        keys = list(self._file_hashes[0])
        named = [row for row in np.flatnonzero(self.has_image).tolist() if keys[row] is None]
        for row, ref in zip(named, self.images(named), strict=True):
            assert ref is not None
            keys[row] = content_hash(ref.name.encode())
        return keys

    @cached_property
    def text_keys(self) -> list[bytes | None]:
        """16 bytes that name each row's text as the source has it, cleaned or not; None where it is blank."""
        return [text_key(text) if text and text.strip() else None for text in self.column("text")]

    @cached_property
    def row_keys(self) -> list[bytes | None]:
        """16 bytes a row, equal where both image and text are; None for a row that has neither."""
        keys = zip(self.image_keys, self.text_keys, strict=True)
        return [content_hash((i or b"-") + (t or b"-")) if i or t else None for i, t in keys]

    def select(self, rows: Sequence[int] | np.ndarray) -> Pairs:
        """The given rows, in the given order; image, text and label move together, and so do hashes once made."""
        rows = np.asarray(rows, dtype=np.int64)
        part = replace(self, table=self.table.select(rows), splits={})
        part.__dict__.update({name: _taken(kept, rows.tolist()) for name, kept in self._made().items()})
        return part

    def labelled(self, labels: Sequence[Any]) -> Pairs:
        """The same rows with other labels, one a row. Raises DataError where there are more or fewer."""
        if len(labels) != len(self):
            raise DataError(f"{len(labels):,} labels (y) for {len(self):,} rows; give one a row")
        column = [None if value is None or value != value else as_label(value) for value in labels]
        table = self.table.remove_columns("label").add_column("label", column, feature=features()["label"])
        taken = {role: name for role, name in self.taken.items() if role != "label"}
        pairs = replace(self, table=table.select_columns(self.table.column_names), taken=taken)
        pairs.__dict__.update(self._made())
        return pairs

    def __getitem__(self, row: int) -> dict[str, Any]:
        """One row as a dict; `plait.read` takes a list of such dicts."""
        return dict(self.table[int(row)])

    def as_cleaned(self) -> Pairs:
        """The same rows with texts cleaned; see `cleaned`."""
        if self.cleaned:
            return self
        pairs = replace(self, cleaned=True)
        pairs.__dict__.update({name: kept for name, kept in self._made().items() if name != "text_hashes"})
        return pairs

    def split(self, name: str) -> Pairs:
        """The rows of one named split. Raises DataError where the source has no split of that name."""
        from plait.errors import did_you_mean

        if name not in self.splits:
            hint = did_you_mean(name, self.splits) or f" It has no splits; leave '#{name}' away."
            raise DataError(f"{self.source}: no split '{name}'.{hint}")
        rows = self.select(self.splits[name])
        part = replace(rows, source=f"{self.source}#{name}")
        part.__dict__.update(rows._made())
        return part

    def _made(self) -> dict[str, Any]:
        """Hashes and keys that were made already."""
        return {name: self.__dict__[name] for name in KEPT & self.__dict__.keys()}


# What is made once for a table and holds for any choice of its rows.
KEPT = frozenset({"_file_hashes", "image_hashes", "text_hashes", "image_keys", "text_keys", "row_keys"})


def _taken(kept: Any, rows: list[int]) -> Any:
    if isinstance(kept, list):
        return [kept[row] for row in rows]
    hashes, reasons = kept
    return [hashes[row] for row in rows], {new: reasons[row] for new, row in enumerate(rows) if row in reasons}


def _hashed(ref: ImageRef, row: int, reasons: dict[int, str]) -> bytes | None:
    """The content hash of an image, or None and the reason why it cannot be opened."""
    try:
        return content_hash(ref.load())
    except (OSError, ValueError) as error:
        reasons[row] = GONE if isinstance(error, FileNotFoundError) else str(error)
        return None


def text_key(text: str) -> bytes:
    """16 bytes that name a text, whatever space is around it."""
    return content_hash(text.strip().encode())


def as_label(value: Any) -> str:
    """A label as a string: without white space around it, in Unicode's form NFC, so that equal names are one class."""
    return unicodedata.normalize("NFC", str(value).strip())
