"""Run folders: a fitted classifier as JSON, safetensors and tokenizer files, complete in itself.

``run.json`` lists every other file with its size and BLAKE2b digest. Loading opens the listed files only, after
checking them, and none of a kind that can hold code: no pickle is ever opened.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.data.sketch import SEEN, Sketch
from plait.encoders.base import file_digest, fingerprint
from plait.errors import PlaitError, RunError

if TYPE_CHECKING:
    from plait.inference.engine import Engine
    from plait.pipeline.classifier import Classifier

FORMAT = 1
EXPORTED = 2  # as FORMAT, with encoders and head as ONNX graphs
MANIFEST = "run.json"
HEAD, GRAPH = "head.safetensors", "head.onnx"
# Data only: weights, graphs, configuration, vocabularies and sentencepiece models.
SUFFIXES = {".json", ".safetensors", ".txt", ".model", ".jinja", ".md", ".onnx", ".data"}
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
    from safetensors.torch import save_file

    if not hasattr(classifier, "head_"):
        raise RunError("this classifier is not fitted; call fit(pairs) before save")

    def write(part: Path) -> dict[str, Any]:
        encoders = classifier.encoders_.save(part)
        save_file({k: v.contiguous() for k, v in classifier.head_.state_dict().items()}, part / HEAD)
        for extra in part.rglob("*"):
            if extra.is_file() and extra.suffix not in SUFFIXES:
                extra.unlink()
        for name, sketch in classifier.seen_.items():
            sketch.save(part / name)
        return describe(classifier.engine) | {
            "format": FORMAT, "encoders": encoders, "head": classifier.spec_.as_json(),
        }  # fmt: skip

    write_folder(folder, write, overwrite)


def describe(engine: Engine) -> dict[str, Any]:
    """What the manifest of a run and of its export have in common."""
    return {"labels": engine.labels, "config": engine.config.model_dump(), "metrics": engine.metrics}


def write_folder(
    folder: Path,
    write: Callable[[Path], dict[str, Any]],
    overwrite: bool = False,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write a folder with a manifest of its files; it appears whole or not at all.

    Args:
        write: fills an empty folder and returns the manifest's own keys.
        check: looks at the whole folder before it appears; what it raises keeps it from appearing.

    Raises:
        RunError: the folder holds something already, or cannot be written.
    """
    from plait import __version__

    require_free(folder, overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            manifest = write(part)
            files = sorted(path for path in part.rglob("*") if path.is_file())
            stamps = {path.relative_to(part).as_posix(): _stamp(path) for path in files}
            manifest |= {"files": stamps, "plait": __version__}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
            part.chmod(0o755)
            if check is not None:
                check(part)
            if folder.exists():
                shutil.rmtree(folder)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise RunError(
            f"--out '{folder}' cannot be written: {error.strerror or error}; choose another folder"
        ) from error


def load(folder: str | Path, device: str = "auto") -> Classifier:
    """Read a run folder. Nothing in it is executed.

    Raises:
        RunError: not a run, cut short, altered, written by a newer version, or an exported one.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest["format"] == EXPORTED:
        raise RunError(
            f"'{folder}' is an exported run, which answers only: predict, evaluate, serve and app take it, and in "
            "Python plait.Engine.open; give the run it was made from"
        )
    with _blamed_on(folder):
        return _classifier(folder, manifest, device)


def open_engine(folder: Path, device: str = "auto") -> Engine:
    """What answers, from a run folder or an exported one; see `Engine.open`."""
    manifest = read_manifest(folder)
    with _blamed_on(folder):
        exported = manifest["format"] == EXPORTED
        engine = _exported(folder, manifest) if exported else _classifier(folder, manifest, device).engine
        digests = [(name, stamp["blake2b"]) for name, stamp in sorted(manifest["files"].items())]
        engine.fingerprint = fingerprint({"labels": manifest["labels"], "files": digests}, {})
        engine.folder = str(folder)
        return engine


def _classifier(folder: Path, manifest: dict[str, Any], device: str) -> Classifier:
    from safetensors.torch import load_file

    from plait.config import configure
    from plait.devices import pick_device
    from plait.encoders.pair import EncoderPair
    from plait.fusion.spec import HeadSpec, build
    from plait.pipeline.classifier import Classifier

    classifier = Classifier(configure(values=manifest["config"]))
    classifier.classes_ = list(manifest["labels"])
    classifier.encoders_ = EncoderPair.load(folder, manifest["encoders"], pick_device(device))
    classifier.spec_ = HeadSpec.from_json(manifest["head"])
    classifier.head_ = build(classifier.spec_)
    classifier.head_.load_state_dict(load_file(folder / HEAD))
    classifier.head_.eval()
    classifier.curve_, classifier.metrics_, classifier.warnings_ = [], dict(manifest["metrics"]), []
    classifier.seen_ = _sketches(folder, manifest)
    _require_labels(manifest, classifier.spec_.shape.classes)
    return classifier


def _exported(folder: Path, manifest: dict[str, Any]) -> Engine:
    from plait.config import configure
    from plait.encoders.pair import EncoderPair
    from plait.inference.engine import Engine
    from plait.inference.onnx_head import OnnxHead

    head = OnnxHead(folder / GRAPH)
    _require_labels(manifest, head.classes)
    return Engine(
        EncoderPair.load(folder, manifest["encoders"]), head, list(manifest["labels"]), manifest["head"]["model"],
        configure(values=manifest["config"]), metrics=dict(manifest["metrics"]),
        seen=_sketches(folder, manifest).get(""),
    )  # fmt: skip


def _sketches(folder: Path, manifest: dict[str, Any]) -> dict[str, Sketch]:
    """What the run and its encoders have seen, by folder; a run of an older plait says nothing."""
    names = [name.removesuffix(SEEN).rstrip("/") for name in manifest["files"] if Path(name).name == SEEN]
    return {name: sketch for name in names if (sketch := Sketch.load(folder / name)) is not None}


def _require_labels(manifest: dict[str, Any], classes: int) -> None:
    if len(manifest["labels"]) != classes:
        raise ValueError(f"{len(manifest['labels'])} labels for {classes} classes")


@contextmanager
def _blamed_on(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged folder makes of the libraries into one clear RunError."""
    try:
        yield
    except PlaitError as error:
        raise RunError(f"run '{folder}' cannot be loaded: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise RunError(f"run '{folder}' is damaged ({reason}); copy it again or fit it anew") from error


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
    if version > EXPORTED:
        raise RunError(
            f"run '{folder}' has format {version}, written by plait {manifest.get('plait', '?')}; "
            f"this plait reads up to format {EXPORTED}: upgrade plait"
        )
    if missing := sorted(KEYS - set(manifest)):
        raise RunError(f"run '{folder}': {MANIFEST} lacks {', '.join(missing)}; copy the run again or fit it anew")
    _check_files(folder, manifest["files"], GRAPH if version == EXPORTED else HEAD)
    return dict(manifest)


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
    return {"bytes": path.stat().st_size, "blake2b": file_digest(path)}
