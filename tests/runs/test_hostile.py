"""Runs that somebody has tampered with: nothing in them is executed."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plait.config import Config
from plait.data.pairs import Pairs
from plait.errors import RunError
from plait.pipeline.classifier import Classifier
from plait.runs.open import load

DISTRUST = "do not trust this folder"


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


@pytest.fixture(scope="module")
def saved(toy_config: Callable[..., Config], drawn: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    Classifier(toy_config("model=late")).fit(drawn).save(folder)
    return folder


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def evil(marker: Path) -> bytes:
    content = pickle.dumps(Payload(marker))
    pickle.loads(content).close()
    assert marker.exists()  # it does work where it is opened
    marker.unlink()
    return content


def refused(folder: Path) -> str:
    with pytest.raises(RunError) as caught:
        load(folder, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def enlist(run: Path, *names: str, **changes: Any) -> None:
    """Rewrite run.json as an attacker would, with the right size and digest of some files."""
    manifest = json.loads((run / "run.json").read_text("utf-8"))
    for name in names:
        content = (run / name).read_bytes()
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        manifest["files"][name] = {"bytes": len(content), "blake2b": digest}
    (run / "run.json").write_text(json.dumps(manifest | changes), "utf-8")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pkl", "model.joblib", "head.pt"])
def test_a_pickle_beside_the_run_is_not_opened(run: Path, name: str, evil: bytes, marker: Path) -> None:
    (run / name).write_bytes(evil)
    assert load(run, device="cpu").model == "late"
    assert not marker.exists()
    enlist(run, name)
    assert refused(run) == f"run '{run}': '{name}' does not belong in a run; {DISTRUST}"
    assert not marker.exists()


@pytest.mark.parametrize("name", ["image/pytorch_model.bin", "text-0/model.pkl", "text-0/1_Pooling/pytorch_model.bin"])
@pytest.mark.parametrize("listed", [False, True])
def test_a_pickle_among_the_weights_is_refused(run: Path, name: str, listed: bool, evil: bytes, marker: Path) -> None:
    (run / name).write_bytes(evil)
    if listed:
        enlist(run, name)
    assert refused(run) == f"run '{run}': '{name}' does not belong in a run; {DISTRUST}"
    assert not marker.exists()


@pytest.mark.parametrize("name", ["head.safetensors", "image/model.safetensors", "text-0/model.safetensors"])
def test_a_pickle_instead_of_the_weights(run: Path, name: str, evil: bytes, marker: Path) -> None:
    (run / name).write_bytes(evil)
    message = f"run '{run}': '{name}' is not as it was written; copy the run again or fit it anew"
    assert refused(run) == message
    enlist(run, name)
    assert refused(run).startswith((f"run '{run}' is damaged (", f"run '{run}' cannot be loaded: "))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../x.safetensors", "image/../../x.safetensors", "/etc/x.safetensors", "run.py"])
def test_paths_that_lead_out(run: Path, name: str) -> None:
    (run.parent / "x.safetensors").write_bytes(b"")
    manifest = json.loads((run / "run.json").read_text("utf-8"))
    enlist(run, files={**manifest["files"], name: {"bytes": 0, "blake2b": ""}})
    assert refused(run) == f"run '{run}': '{name}' does not belong in a run; {DISTRUST}"


@pytest.mark.parametrize("where", [".", "..", "../other", "/tmp"])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_encoders_elsewhere(run: Path, where: str, modality: str, evil: bytes, marker: Path) -> None:
    """Files beside run.json need not be listed, so no encoder may be loaded from there."""
    encoders = json.loads((run / "run.json").read_text("utf-8"))["encoders"]
    part = encoders["image"] if modality == "image" else encoders["text"][0]
    usual, part["folder"] = part["folder"], where
    for file in (run / usual).iterdir():
        if file.is_file():
            shutil.copy(file, run)
    (run / "model.safetensors").unlink()
    (run / "pytorch_model.bin").write_bytes(evil)
    enlist(run, encoders=encoders)
    assert refused(run) == (
        f"run '{run}' cannot be loaded: an encoder is said to be in '{where}' instead of '{usual}'; {DISTRUST}"
    )
    assert not marker.exists()


def test_links_are_refused(run: Path, tmp_path: Path) -> None:
    shutil.move(run / "text-0" / "1_Pooling", tmp_path / "outside")
    (run / "text-0" / "1_Pooling").symlink_to(tmp_path / "outside")
    assert refused(run) == f"run '{run}': 'text-0/1_Pooling/config.json' does not belong in a run; {DISTRUST}"
    (run / "text-0" / "1_Pooling").unlink()
    shutil.move(tmp_path / "outside", run / "text-0" / "1_Pooling")
    (run / "text-0" / "2_Dense").symlink_to(run)
    assert refused(run) == f"run '{run}': 'text-0/2_Dense' does not belong in a run; {DISTRUST}"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ({"type": "antigravity.Payload"}, "module 'antigravity.Payload' may run code of its own"),
        (
            {"type": "sentence_transformers.util.torch"},
            "module 'sentence_transformers.util.torch' may run code of its own",
        ),
        (
            {"type": "sentence_transformers.models.Dense", "path": ".."},
            "module 'sentence_transformers.models.Dense' is outside, in '..'",
        ),
    ],
)
def test_foreign_modules_are_refused(run: Path, module: dict[str, str], reason: str) -> None:
    file = run / "text-0" / "modules.json"
    modules = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps([*modules, {"idx": 2, "name": "2", "path": "", **module}]), "utf-8")
    enlist(run, "text-0/modules.json")
    assert refused(run) == f"run '{run}' cannot be loaded: {run}/text-0: {reason}; {DISTRUST}"


def test_code_of_a_model_is_not_run(run: Path, marker: Path) -> None:
    """A config that asks transformers for a class of its own: the file is refused, listed or not."""
    (run / "text-0" / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = json.loads((run / "text-0" / "config.json").read_text("utf-8"))
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    (run / "text-0" / "config.json").write_text(json.dumps(config), "utf-8")
    enlist(run, "text-0/config.json")
    assert refused(run) == f"run '{run}': 'text-0/evil.py' does not belong in a run; {DISTRUST}"
    enlist(run, "text-0/evil.py")
    assert refused(run) == f"run '{run}': 'text-0/evil.py' does not belong in a run; {DISTRUST}"
    assert not marker.exists()
