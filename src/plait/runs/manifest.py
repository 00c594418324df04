"""``run.json``: what a run folder says of itself, and the checks of every file it lists.

It lists every other file with its size and BLAKE2b digest. Only listed files are ever opened, after they were checked,
and none of a kind that can hold code: no pickle is ever opened.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plait.errors import RunError
from plait.files import MANIFEST, digest

FORMAT = 1
EXPORTED = 2  # as FORMAT, with encoders and head as ONNX graphs
SPACE = 3  # as FORMAT, with the towers of a joint space in place of a head
HEAD, GRAPH, CAPTIONER = "head.safetensors", "head.onnx", "captioner"
# Data only: weights, graphs, configuration, vocabularies and sentencepiece models.
SUFFIXES = {".json", ".safetensors", ".txt", ".model", ".jinja", ".md", ".onnx", ".data"}
KEYS = {"format", "plait", "labels", "config", "encoders", "head", "metrics", "files"}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Parse run.json and check every file it lists.

    Raises:
        RunError: not a run, cut short, altered, or written by a newer version.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise RunError(f"no such run folder: '{folder}'")
    if not path.is_file():
        raise RunError(f"'{folder}' is not a run: it has no {MANIFEST}; give a folder written by plait fit")
    try:
        manifest = json.loads(path.read_text("utf-8"))
        version = int(manifest["format"])
    except (ValueError, KeyError, TypeError):
        raise RunError(f"run '{folder}': {MANIFEST} is damaged; copy the run again or fit it anew") from None
    if version > SPACE:
        raise RunError(
            f"run '{folder}' has format {version}, written by plait {manifest.get('plait', '?')}; "
            f"this plait reads up to format {SPACE}: upgrade plait"
        )
    if missing := sorted(KEYS - set(manifest)):
        raise RunError(f"run '{folder}': {MANIFEST} lacks {', '.join(missing)}; copy the run again or fit it anew")
    _check_files(folder, manifest["files"], GRAPH if version == EXPORTED else HEAD)
    return dict(manifest)


def stamps_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and digest of every file below a folder, by its path from there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _stamp(path) for path in files}


def _check_files(folder: Path, files: Any, head: str) -> None:
    """Every listed file must be there as it was written, inside the folder, and of a kind that holds data only."""
    if not isinstance(files, dict) or head not in files:
        raise RunError(f"run '{folder}': {MANIFEST} lists no {head}; copy the run again or fit it anew")
    root = folder.resolve()
    for name, stamp in files.items():
        path = folder / name
        if path.suffix not in SUFFIXES or not path.resolve().is_relative_to(root):
            raise RunError(f"run '{folder}': '{name}' does not belong in a run; do not trust this folder")
        if not path.is_file():
            raise RunError(f"run '{folder}' is incomplete: '{name}' is missing; copy the run again or fit it anew")
        if _stamp(path) != stamp:
            raise RunError(f"run '{folder}': '{name}' is not as it was written; copy the run again or fit it anew")
    # Beside run.json a user may keep notes; among an encoder's files a library might open what it finds.
    for path in sorted(folder.glob("*/**/*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (path.is_file() and name not in files):
            raise RunError(f"run '{folder}': '{name}' does not belong in a run; do not trust this folder")


def _stamp(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "blake2b": digest(path)}
