"""Run folders: a fitted classifier as JSON, safetensors and tokenizer files, complete in itself.

``run.json`` lists every other file with its size and BLAKE2b digest. Loading opens the listed files only, after
checking them, and none of a kind that can hold code: no pickle is ever opened.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import PlaitError, RunError

if TYPE_CHECKING:
    from plait.classifier import Classifier

FORMAT = 1
MANIFEST = "run.json"
HEAD = "head.safetensors"
# Data only: weights, configuration, vocabularies and sentencepiece models.
SUFFIXES = {".json", ".safetensors", ".txt", ".model", ".jinja", ".md"}
KEYS = {"format", "plait", "labels", "config", "encoders", "head", "metrics", "files"}


def require_free(folder: Path, overwrite: bool = False) -> None:
    """Raise RunError where a run, or anything else, is in the way of a new run."""
    if folder.is_file():
        raise RunError(f"--out '{folder}' is a file; give a folder")
    if overwrite or not folder.exists() or not any(folder.iterdir()):
        return
    what = "already holds a run" if (folder / MANIFEST).exists() else "is not empty"
    raise RunError(f"--out '{folder}' {what}; choose another folder, or replace it with --overwrite")


def save(classifier: Classifier, folder: Path, overwrite: bool = False) -> None:
    """Write a run folder; it appears whole or not at all.

    Raises:
        RunError: the folder holds something already, or cannot be written.
    """
    from plait import __version__

    if not hasattr(classifier, "head_"):
        raise RunError("this classifier is not fitted; call fit(pairs) before save")
    require_free(folder, overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            manifest = _write(classifier, part) | {"plait": __version__}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
            part.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise RunError(
            f"--out '{folder}' cannot be written: {error.strerror or error}; choose another folder"
        ) from error


def _write(classifier: Classifier, folder: Path) -> dict[str, Any]:
    from safetensors.torch import save_file

    encoders = classifier.encoders_.save(folder)
    save_file({k: v.contiguous() for k, v in classifier.head_.state_dict().items()}, folder / HEAD)
    for extra in folder.rglob("*"):
        if extra.is_file() and extra.suffix not in SUFFIXES:
            extra.unlink()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format": FORMAT,
        "labels": classifier.classes_,
        "config": classifier.config.model_dump(),
        "encoders": encoders,
        "head": classifier.spec_.as_json(),
        "metrics": classifier.metrics_,
        "files": {path.relative_to(folder).as_posix(): _stamp(path) for path in files},
    }


def load(folder: str | Path, device: str = "auto") -> Classifier:
    """Read a run folder. Nothing in it is executed.

    Raises:
        RunError: not a run, cut short, altered, or written by a newer version.
    """
    from safetensors.torch import load_file

    from plait.classifier import Classifier
    from plait.config import configure
    from plait.encoders.base import pick_device
    from plait.encoders.pair import EncoderPair
    from plait.fusion.build import HeadSpec, build

    folder = Path(folder)
    manifest = read_manifest(folder)
    try:
        classifier = Classifier(configure(values=manifest["config"]))
        classifier.classes_ = list(manifest["labels"])
        classifier.encoders_ = EncoderPair.load(folder, manifest["encoders"], pick_device(device))
        classifier.spec_ = HeadSpec.from_json(manifest["head"])
        classifier.head_ = build(classifier.spec_)
        classifier.head_.load_state_dict(load_file(folder / HEAD))
        classifier.head_.eval()
        classifier.curve_, classifier.metrics_, classifier.warnings_ = [], dict(manifest["metrics"]), []
        if len(classifier.classes_) != classifier.spec_.shape.classes:
            raise ValueError(f"{len(classifier.classes_)} labels for {classifier.spec_.shape.classes} classes")
    except PlaitError as error:
        raise RunError(f"run '{folder}' cannot be loaded: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise RunError(f"run '{folder}' is damaged ({reason}); copy it again or fit it anew") from error
    return classifier


def read_manifest(folder: Path) -> dict[str, Any]:
    """Parse run.json and check every file it lists."""
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
    if version > FORMAT:
        raise RunError(
            f"run '{folder}' has format {version}, written by plait {manifest.get('plait', '?')}; "
            f"this plait reads up to format {FORMAT}: upgrade plait"
        )
    if missing := sorted(KEYS - set(manifest)):
        raise RunError(f"run '{folder}': {MANIFEST} lacks {', '.join(missing)}; copy the run again or fit it anew")
    _check_files(folder, manifest["files"])
    return dict(manifest)


def _check_files(folder: Path, files: Any) -> None:
    """Every listed file must be there as it was written, inside the folder, and of a kind that holds data only."""
    if not isinstance(files, dict) or HEAD not in files:
        raise RunError(f"run '{folder}': {MANIFEST} lists no {HEAD}; copy the run again or fit it anew")
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
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return {"bytes": path.stat().st_size, "blake2b": digest.hexdigest()}
