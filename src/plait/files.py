"""Files and folders that are whole at every moment: written beside their place, then moved into it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plait.errors import RunError, option

MANIFEST = "run.json"  # what makes a folder a run
_BLOCK = 1 << 22


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield the path of an empty file to write; it becomes `file` where the block ends well, and goes where not."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", suffix=".part", dir=file.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of `folder` where the block ends well, and goes where not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield part
        part.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_json(file: Path, content: Any) -> None:
    """Write JSON values; the file appears whole or not at all."""
    with replacing(file) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def read_json(file: Path) -> Any:
    """The JSON values of a file; None where it is not there or holds something else."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def require_folder(folder: Path) -> None:
    """Raise RunError where an output folder is a file."""
    if folder.is_file():
        raise RunError(f"{option('--out', 'folder')} '{folder}' is a file; give a folder")


def require_free(folder: Path, overwrite: bool = False, but: Collection[str] = ()) -> None:
    """Raise RunError where a file, a run, or anything else is in the way of a new folder; names in `but` are not."""
    require_folder(folder)
    if overwrite or not folder.exists() or {one.name for one in folder.iterdir()} <= set(but):
        return
    out, overwrite_it = option("--out", "folder"), option("--overwrite", "overwrite=True")
    what = "already holds a run" if (folder / MANIFEST).exists() else "is not empty"
    raise RunError(f"{out} '{folder}' {what}; choose another folder, or replace it with {overwrite_it}")


@contextmanager
def blamed_on(folder: Path) -> Iterator[None]:
    """Turn whatever keeps an output folder from being written into one clear RunError."""
    try:
        yield
    except OSError as error:
        out = option("--out", "folder")
        raise RunError(
            f"{out} '{folder}' cannot be written: {error.strerror or error}; choose another folder"
        ) from error


def digest(path: Path) -> str:
    """32 hex digits of a file's content (BLAKE2b)."""
    found = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def cache_folder() -> Path:
    """``$PLAIT_CACHE`` if set, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("PLAIT_CACHE") or platformdirs.user_cache_dir("plait"))
