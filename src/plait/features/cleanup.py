"""What a store keeps, by encoder: how much of the disk it takes, when it was last used, and getting rid of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from plait.errors import DataError, StoreError
from plait.features.store import FeatureTable, name_of
from plait.files import read_json

DAY = 86_400
ALL = "all"


@dataclass(frozen=True)
class Kept:
    """One thing in a store.

    Attributes:
        kind: ``features``, ``encoder`` (tuned on some training rows), ``training`` (of a joint one, to go on with),
            ``weights``, ``table`` (of a data source, as it was read), ``network`` (what is known of a closed one) or
            ``head`` (fitted to some training rows).
        name: of the encoder or file. key: what the store calls it. rows: of features. size: bytes.
        used: when it was last used, in seconds of the epoch.
        paths: what goes with it.
    """

    kind: str
    name: str
    key: str
    size: int
    used: float
    paths: tuple[Path, ...]
    rows: int | None = None

    @property
    def days(self) -> float:
        """Since it was last used."""
        return max(0.0, time.time() - self.used) / DAY


def kept(folder: Path) -> list[Kept]:
    """Everything in a store, the largest first."""
    found = [*_features(folder), *_encoders(folder)]
    others = (("training", "joint/*"), ("weights", "weights/*"), ("table", "*.arrow"), ("network", "opened/*"))
    for kind, pattern in others:
        found += [_kept(kind, path.stem, path.name, (path,)) for path in folder.glob(pattern)]
    found += [_kept("head", "fitted head", path.stem, (path,)) for path in folder.glob("heads/*.safetensors")]
    return sorted(found, key=lambda one: one.size, reverse=True)


def chosen(found: Sequence[Kept], names: Collection[str] = (), unused: float | None = None) -> list[Kept]:
    """Those of the given names, keys or kinds (``all``: every one) that were not used for so many days.

    Raises:
        DataError: a name that nothing has.
    """
    for name in names:
        if name != ALL and not any(_called(one, name) for one in found):
            known = ", ".join(sorted({one.name for one in found})) or "nothing"
            raise DataError(f"'{name}' is not in the store; it holds {known}")
    wanted = [one for one in found if not names or ALL in names or any(_called(one, name) for name in names)]
    return [one for one in wanted if unused is None or one.days >= unused]


def clear(things: Sequence[Kept]) -> int:
    """Delete things; the bytes that are free again. Raises StoreError for what cannot be deleted."""
    for one in things:
        for path in one.paths:
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"'{path}' cannot be deleted: {error.strerror or error}") from None
    return sum(one.size for one in things)


def compact(folder: Path) -> int:
    """Merge the chunks of all tables, and delete what was merged; the bytes that are free again.

    What another process is reading meanwhile may be gone for it.
    """
    before = sum(one.size for one in _features(folder))
    for path in (folder / "features").glob("*.lance"):
        FeatureTable(path).compact(timedelta(0))
    return before - sum(one.size for one in _features(folder))


def _called(one: Kept, name: str) -> bool:
    return name in (one.name, one.kind) or one.key.startswith(name)


def _features(folder: Path) -> Iterator[Kept]:
    for path in (folder / "features").glob("*.lance"):
        note, costs = name_of(path), folder / "costs" / f"{path.stem.split('-')[0]}.json"
        name = (read_json(note) or {}).get("encoder") or path.stem[:12]
        paths = (path, note, costs) if costs.exists() else (path, note)
        rows = None
        with suppress(StoreError):  # damaged ones are listed, too
            rows = len(FeatureTable(path))
        yield _kept("features", name, path.stem, paths, rows)


def _encoders(folder: Path) -> Iterator[Kept]:
    for path in (folder / "encoders").glob("*"):
        facts = read_json(path / "tuning.json") or {}
        name = f"tuned {facts['modality']} encoder" if "modality" in facts else "unfinished training"
        yield _kept("encoder", name, path.name.lstrip("."), (path,))


def _kept(kind: str, name: str, key: str, paths: tuple[Path, ...], rows: int | None = None) -> Kept:
    size, used = 0, 0.0
    for path in paths:
        for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
            with suppress(OSError):  # another process may have deleted it meanwhile
                facts = os.stat(file)
                size += facts.st_size if file.is_file() else 0
                used = max(used, facts.st_mtime)
    return Kept(kind, name, key, size, used, paths, rows)
