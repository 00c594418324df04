"""Run folders, opened: whatever `plait fit` or `plait export` wrote becomes an `Engine`. Nothing in it is executed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.config import Config, configure
from plait.data.sketch import SEEN, Sketch
from plait.encoders.base import fingerprint
from plait.encoders.pair import EncoderPair
from plait.errors import PlaitError, RunError
from plait.files import MANIFEST, read_json
from plait.inference.engine import Engine, FeaturesOf, Head
from plait.runs.manifest import CAPTIONER, EXPORTED, GRAPH, HEAD, SPACE, read_manifest

ADDED = ("slope", "slopes", "noise")  # what heads of older runs lack, which is as if it were 0

if TYPE_CHECKING:
    from plait.fusion.space import JointSpace
    from plait.inference.fill import Fill


def load(folder: str | Path, device: str = "auto") -> Engine:
    """Open a run folder, or a folder that `plait export` wrote.

    Args:
        device: where a run computes: auto, cpu, cuda, mps; an export computes on the CPU.

    Raises:
        RunError: not a run, cut short, altered, or written by a newer version.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest["format"] == SPACE:
        raise RunError(f"'{folder}' is a joint space, which finds and does not label; give it to plait index")
    with _blamed_on(folder):
        opened = _exported if manifest["format"] == EXPORTED else _fitted
        encoders, head, classes, model = opened(folder, manifest, device)
        if len(manifest["labels"]) != classes:
            raise ValueError(f"{len(manifest['labels'])} labels for {classes} classes")
        engine = _engine(folder, manifest, encoders, head, model)
        engine.fill = _fill(folder, manifest, device)
        return engine


def _fill(folder: Path, manifest: dict[str, Any], device: str) -> Fill | None:
    """What stands in for missing texts, where the run has it."""
    weight = float(manifest["metrics"].get("fill", {}).get("weight", 0.0))
    if not weight or manifest["format"] == EXPORTED:
        return None
    from plait.captions.folder import load_captioner
    from plait.devices import pick_device
    from plait.inference.fill import Fill

    return Fill(load_captioner(folder / CAPTIONER, pick_device(device)), weight)


def is_space(folder: Path) -> bool:
    """Whether a folder is a joint space, which `load_space` opens, and no run."""
    manifest = read_json(folder / MANIFEST)
    return isinstance(manifest, dict) and manifest.get("format") == SPACE


def load_space(folder: Path, device: str = "auto") -> tuple[Engine, JointSpace]:
    """Open a joint space that `plait tune joint` wrote: an engine that encodes and labels nothing, and the towers.

    Raises:
        RunError: not a joint space, cut short, altered, or written by a newer version.
    """
    from safetensors.torch import load_file

    from plait.devices import pick_device
    from plait.fusion.space import JointSpace, SpaceSpec

    manifest = read_manifest(folder)
    with _blamed_on(folder):
        space = JointSpace(SpaceSpec.from_json(manifest["head"]))
        space.load_state_dict(load_file(folder / HEAD))
        encoders = EncoderPair.load(folder, manifest["encoders"], pick_device(device))
        return _engine(folder, manifest, encoders, labels_nothing, "space"), space.eval()


def labels_nothing(features: FeaturesOf) -> np.ndarray:
    """The head of a joint space's engine. Raises RunError."""
    raise RunError("a joint space finds and does not label; give a run")


def _engine(folder: Path, manifest: dict[str, Any], encoders: EncoderPair, head: Head, model: str) -> Engine:
    digests = [(name, stamp["blake2b"]) for name, stamp in sorted(manifest["files"].items())]
    return Engine(
        encoders, head, list(manifest["labels"]), model, _config(manifest["config"]),
        fingerprint=fingerprint({"labels": manifest["labels"], "files": digests}, {}),
        metrics=dict(manifest["metrics"]), sketches=_sketches(folder, manifest),
        provenance=dict(manifest.get("provenance", {})), folder=str(folder),
    )  # fmt: skip


def _fitted(folder: Path, manifest: dict[str, Any], device: str) -> tuple[EncoderPair, Head, int, str]:
    from safetensors.torch import load_file

    from plait.devices import pick_device
    from plait.fusion.spec import HeadSpec, build_model
    from plait.inference.torch_head import TorchHead

    spec = HeadSpec.from_json(manifest["head"])
    model = build_model(spec)
    before = {name: value for name, value in model.state_dict().items() if name.endswith(ADDED)}
    model.load_state_dict(before | load_file(folder / HEAD))
    encoders = EncoderPair.load(folder, manifest["encoders"], pick_device(device))
    return encoders, TorchHead(model, spec), spec.shape.classes, spec.model


def _exported(folder: Path, manifest: dict[str, Any], _: str) -> tuple[EncoderPair, Head, int, str]:
    from plait.inference.onnx_head import OnnxHead

    head = OnnxHead(folder / GRAPH)
    return EncoderPair.load(folder, manifest["encoders"]), head, head.classes, manifest["head"]["model"]


def _config(values: dict[str, Any]) -> Config:
    """The configuration of a run, one of an older plait under today's names."""
    head = dict(values.get("head", {}))
    if "strand_dropout" in head:
        head["modality_dropout"] = head.pop("strand_dropout")
    return configure(values={**values, "head": head})


def _sketches(folder: Path, manifest: dict[str, Any]) -> dict[str, Sketch]:
    """What the run and its encoders have seen, by folder; a run of an older plait says nothing."""
    names = [name.removesuffix(SEEN).rstrip("/") for name in manifest["files"] if Path(name).name == SEEN]
    return {name: sketch for name in names if (sketch := Sketch.load(folder / name)) is not None}


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
