"""Folders of tuned encoders: trainings that go on after a kill, and what came of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from plait.data.sketch import Sketch
from plait.errors import RunError, option
from plait.files import blamed_on, read_json, replacing_folder, require_free, write_json
from plait.processes import first_before_others
from plait.progress import say

FACTS = "tuning.json"
KEY = "key.json"
METHOD = 3  # raised when the same rows and settings train other weights: those of before are then not gone on with


class Training:
    """A folder-to-be of a tuned encoder, and the hidden folder beside it that its training is kept in until then.

    Args:
        folder: the encoder's folder; it appears whole or not at all.
        key: what decides the result: rows, settings, seed. See `key_of`.
        overwrite: replace what is there.

    Raises:
        RunError: the folder holds something already, or an unfinished training of another key.
    """

    def __init__(self, folder: Path, key: str, overwrite: bool = False):
        self.folder, self.key = folder, key
        self.work = folder.with_name(f".{folder.name}.training")
        with first_before_others() as first:
            if first:
                self._claim(overwrite)
        if self.resumes:
            say(f"going on with the unfinished training in '{self.work}'")

    def _claim(self, overwrite: bool) -> None:
        require_free(self.folder, overwrite)
        if self.work.is_dir() and self._kept_key() != self.key:
            if not overwrite:
                anew = option("--overwrite", "overwrite=True")
                raise RunError(
                    f"'{self.work}' holds an unfinished training on other rows or settings; repeat that command to "
                    f"go on with it, choose another folder, or start anew with {anew}"
                )
            shutil.rmtree(self.work)
        with blamed_on(self.folder):
            self.work.mkdir(parents=True, exist_ok=True)
            (self.work / KEY).write_text(json.dumps(self.key), "utf-8")

    @property
    def checkpoint(self) -> Path:
        """The file that training goes on from."""
        return self.work / "last.ckpt"

    @property
    def resumes(self) -> bool:
        """Whether an earlier training is gone on with."""
        return self.checkpoint.is_file()

    def finish(self, write: Callable[[Path], Any], facts: Mapping[str, Any], seen: Sketch) -> None:
        """Let `write` fill the folder, add the facts and what rows were seen, put it in place, and remove the
        unfinished training."""
        with first_before_others() as first:
            if first:
                with blamed_on(self.folder), replacing_folder(self.folder) as model:
                    write(model)
                    write_json(model / FACTS, dict(facts))
                    seen.save(model)
                shutil.rmtree(self.work)

    def _kept_key(self) -> str | None:
        return str(read_json(self.work / KEY))


def key_of(settings: Any, hashes: Iterable[bytes | None]) -> str:
    """32 hex digits that name a training: its settings (JSON values), and the content of each row in order."""
    digest = hashlib.blake2b(json.dumps([METHOD, settings], sort_keys=True).encode(), digest_size=16)
    for value in hashes:
        digest.update(value or b"-")
    return digest.hexdigest()


def facts_of(folder: Path) -> dict[str, Any]:
    """What `Training.finish` noted about an encoder's folder; empty for any other folder."""
    facts = read_json(folder / FACTS)
    return facts if isinstance(facts, dict) else {}
