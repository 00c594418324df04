"""Heads that were fitted before: kept in the store by what they were fitted to, and read back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from torch import Tensor

from plait.files import replacing
from plait.processes import count
from plait.progress import say

FORM = 4  # raised when the same rows and settings are fitted otherwise
Tensors = dict[str, Tensor]
Facts = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What was fitted: tensors and JSON values, the wall seconds it took, and whether that was at another time."""

    tensors: Tensors
    facts: Facts
    seconds: float
    before: bool = False


@dataclass
class KeptHeads:
    """Fitted heads below a folder; several processes that train together fit anew, so that they stay alike."""

    folder: Path
    _said: bool = False

    def get(self, parts: Any, fit: Callable[[], tuple[Tensors, Facts]]) -> Found:
        """What `fit` gives, or gave before for equal parts.

        Args:
            parts: all that the outcome depends on, as `key_of` takes it; what stays on disk is fitted anew each time.
        """
        key = key_of(parts) if count() == 1 else None
        if key is not None and (found := self._load(key)) is not None:
            if not self._said:
                say("heads that were fitted to the same rows before come from the store")
            self._said = True
            return found
        start = time.perf_counter()
        tensors, facts = fit()
        found = Found(tensors, facts, time.perf_counter() - start)
        if key is not None:
            self._save(key, found)
        return found

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _load(self, key: str) -> Found | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._file(key), "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                told = json.loads(file.metadata()["told"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):  # not there, or damaged: fitted anew
            return None
        with contextlib.suppress(OSError):  # used just now, for who clears by age
            os.utime(self._file(key))
        return Found(tensors, told["facts"], told["seconds"], before=True)

    def _save(self, key: str, found: Found) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        told = {"told": json.dumps({"facts": found.facts, "seconds": found.seconds})}
        tensors = {name: one.detach().contiguous().clone() for name, one in found.tensors.items()}
        # A full disk, or a folder that cannot be written: it is fitted again.
        with contextlib.suppress(OSError, SafetensorError), replacing(self._file(key)) as part:
            save_file(tensors, part, told)


class _OnDiskError(Exception):
    """A part is read in blocks: to hash it would be to read it once more."""


def key_of(parts: Any) -> str | None:
    """A name by content for tensors, arrays, sparse matrices, dataclasses, settings, collections and plain values.

    None where a part stays on disk.
    """
    digest = hashlib.blake2b(f"heads {FORM}".encode(), digest_size=16)
    try:
        _feed(digest.update, parts)
    except _OnDiskError:
        return None
    return digest.hexdigest()


def _feed(add: Callable[[Any], None], part: Any) -> None:
    if isinstance(part, Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, np.ndarray):
        add(f"{part.dtype}{part.shape}".encode())
        add(np.ascontiguousarray(part).reshape(-1).view(np.uint8))
    elif hasattr(part, "indptr"):
        _feed(add, [part.shape, part.data, part.indices, part.indptr])
    elif hasattr(part, "blocks"):
        raise _OnDiskError
    elif is_dataclass(part):
        _feed(add, {one.name: getattr(part, one.name) for one in fields(part)})
    elif isinstance(part, BaseModel):
        _feed(add, part.model_dump())
    elif isinstance(part, Mapping):
        _feed(add, [(name, part[name]) for name in sorted(part, key=str)])
    elif isinstance(part, frozenset):
        _feed(add, sorted(part))
    elif isinstance(part, (list, tuple)):
        add(f"[{len(part)}".encode())
        for one in part:
            _feed(add, one)
    else:
        add(f"{part!r};".encode())
