"""Run folders, written: a fitted classifier as JSON, safetensors and tokenizer files, complete in itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import RunError
from plait.files import MANIFEST, blamed_on, replacing_folder, require_free, write_json
from plait.runs.manifest import CAPTIONER, FORMAT, HEAD, SPACE, SUFFIXES, stamps_of

if TYPE_CHECKING:
    from plait.fusion.space import JointSpace
    from plait.inference.engine import Engine


def save(engine: Engine, folder: Path, overwrite: bool = False) -> None:
    """Write a run folder of a fitted engine; it appears whole or not at all.

    Raises:
        RunError: the folder holds something already, or cannot be written.
    """
    from safetensors.torch import save_file

    from plait.inference.torch_head import TorchHead

    head = engine.head
    if not isinstance(head, TorchHead):
        raise RunError("an exported run cannot be saved as a run; copy its folder")

    def write(part: Path) -> dict[str, Any]:
        encoders = engine.encoders.save(part)
        save_file({k: v.contiguous() for k, v in head.model.state_dict().items()}, part / HEAD)
        if engine.fill is not None:
            engine.fill.captioner.save(part / CAPTIONER)
        _keep_data_only(part)
        return describe(engine, part) | {"format": FORMAT, "encoders": encoders, "head": head.spec.as_json()}

    write_folder(folder, write, overwrite)


def save_space(engine: Engine, space: JointSpace, folder: Path, overwrite: bool = False) -> None:
    """Write a joint space with the encoders whose features its towers read; see `save`."""
    from safetensors.torch import save_file

    def write(part: Path) -> dict[str, Any]:
        encoders = engine.encoders.save(part)
        save_file({k: v.contiguous() for k, v in space.state_dict().items()}, part / HEAD)
        _keep_data_only(part)
        return describe(engine, part) | {"format": SPACE, "encoders": encoders, "head": space.spec.as_json()}

    write_folder(folder, write, overwrite)


def _keep_data_only(folder: Path) -> None:
    for extra in folder.rglob("*"):
        if extra.is_file() and extra.suffix not in SUFFIXES:
            extra.unlink()


def describe(engine: Engine, folder: Path) -> dict[str, Any]:
    """What the manifests of a run and of its export have in common; what was seen is written beside them."""
    for name, sketch in engine.sketches.items():
        sketch.save(folder / name)
    return {
        "labels": engine.labels,
        "config": engine.config.model_dump(),
        "metrics": engine.metrics,
        "provenance": engine.provenance,
    }


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
    with blamed_on(folder), replacing_folder(folder) as part:
        manifest = write(part)
        write_json(part / MANIFEST, manifest | {"files": stamps_of(part), "plait": __version__})
        if check is not None:
            check(part)
