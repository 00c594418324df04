from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sklearn.exceptions import NotFittedError

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.errors import PlaitError, RunError
from plait.pipeline.classifier import Classifier
from plait.runs.manifest import SUFFIXES, stamps_of
from plait.runs.open import load

WEIGHTS = ["head.safetensors", "image/model.safetensors", "text-0/model.safetensors"]


@pytest.fixture(scope="module")
def fitted(toy_config: Callable[..., Config], drawn: Pairs) -> dict[str, Classifier]:
    return {
        model: Classifier(toy_config(f"model={model}", "seed=3")).fit(drawn)
        for model in ("image", "text", "late", "early")
    }


@pytest.fixture
def run(fitted: dict[str, Classifier], tmp_path: Path) -> Path:
    fitted["late"].save(tmp_path / "run")
    return tmp_path / "run"


def refused(folder: Path) -> str:
    with pytest.raises(RunError) as caught:
        load(folder, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text("utf-8")))


def rewrite(folder: Path, **changes: Any) -> None:
    (folder / "run.json").write_text(json.dumps(manifest(folder) | changes), "utf-8")


# ------------------------------------------------------------------ saved and loaded


@pytest.mark.parametrize("model", ["image", "text", "late", "early"])
def test_a_loaded_run_predicts_the_same(
    model: str, fitted: dict[str, Classifier], drawn: Pairs, tmp_path: Path
) -> None:
    fitted[model].save(tmp_path / "run")
    loaded = load(tmp_path / "run", device="cpu")
    expected = fitted[model].predict_proba(drawn)
    assert expected.shape == (64, 16)
    np.testing.assert_allclose(expected.sum(1), 1, atol=1e-5)
    assert len(np.unique(expected, axis=0)) > 55  # rows differ, so a shift would show
    np.testing.assert_array_equal(loaded.predict_proba(drawn), expected)
    assert loaded.predict(drawn).tolist() == fitted[model].predict(drawn).tolist()
    assert loaded.labels == sorted(set(drawn.labels))  # type: ignore[type-var]
    assert loaded.config == fitted[model].config
    assert loaded.metrics == fitted[model].metrics_
    modalities = {"image": {"image"}, "text": {"text-0"}}.get(model, {"image", "text-0"})
    assert {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()} == modalities


def test_a_run_with_experts_on_wide_texts_predicts_the_same(
    toy_config: Callable[..., Config], drawn: Pairs, tmp_path: Path
) -> None:
    """Their weights are in the encoders' folders, their place in the manifest."""
    classifier = Classifier(toy_config("model=late", "text.model=tfidf+tfidf-char", "head.late=weighted")).fit(drawn)
    classifier.save(tmp_path / "run")
    parts = manifest(tmp_path / "run")["head"]["shape"]["parts"]["text"]
    assert [part["name"] for part in parts] == ["tfidf", "tfidf-char"]
    assert any(part["scores"] for part in parts)
    for number, part in enumerate(parts):
        tensors = load_file(tmp_path / "run" / f"text-{number}" / "model.safetensors")
        assert tensors["components"].shape[0] == part["dense"]
        assert ("scores" in tensors) == (part["scores"] == 16)
    loaded = load(tmp_path / "run", device="cpu")
    np.testing.assert_array_equal(loaded.predict_proba(drawn), classifier.predict_proba(drawn))
    assert loaded.head.spec == classifier.engine_.head.spec
    assert loaded.fingerprint == load(tmp_path / "run", device="cpu").fingerprint


def test_rows_that_lack_a_modality_are_answered_by_the_other_alone(
    fitted: dict[str, Classifier], drawn: Pairs, tmp_path: Path
) -> None:
    """After saving and loading, too; by the same head as in the model of one modality."""
    images, texts = [ref.load() if ref else None for ref in drawn.images()], drawn.texts
    half = {
        "image": Pairs.from_columns(images, [None] * 64, ids=drawn.ids),
        "text": Pairs.from_columns([None] * 64, texts, ids=drawn.ids),
    }
    for model in ("late", "early"):
        fitted[model].save(tmp_path / model)
        loaded = load(tmp_path / model, device="cpu")
        for modality, pairs in half.items():
            np.testing.assert_allclose(
                loaded.predict_proba(pairs), fitted[modality].engine_.predict_proba(pairs), atol=1e-6
            )


def test_a_run_holds_data_only(run: Path) -> None:
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in files} <= SUFFIXES - {".md"}
    assert set(manifest(run)["files"]) == files - {"run.json"}
    assert set(WEIGHTS) < files
    assert not any(path.name.startswith(".run-") for path in run.parent.iterdir())
    assert load_file(run / "head.safetensors")


@pytest.mark.parametrize("model", ["text", "early"])
def test_a_run_of_before_temperatures_went_by_entropy(
    model: str, fitted: dict[str, Classifier], drawn: Pairs, tmp_path: Path
) -> None:
    """It lacks what is new, and answers as with 0 in its place."""
    run = tmp_path / "run"
    fitted[model].save(run)
    tensors = load_file(run / "head.safetensors")
    new = {name for name in tensors if name.split(".")[-1] in ("slope", "slopes", "noise")}
    assert "slope" in new
    assert any(tensors[name].any() for name in new)

    def answers(head: dict[str, Any]) -> np.ndarray:
        save_file(head, run / "head.safetensors")
        rewrite(run, files={name: stamp for name, stamp in stamps_of(run).items() if name != "run.json"})
        return load(run, device="cpu").predict_proba(drawn)

    zero = answers({name: 0 * value if name in new else value for name, value in tensors.items()})
    older = answers({name: value for name, value in tensors.items() if name not in new})
    np.testing.assert_array_equal(older, zero)
    assert not np.array_equal(older, fitted[model].predict_proba(drawn))


CHILD = """
import sys
import numpy as np
import plait
run = plait.load(sys.argv[1], device="cpu")
np.save(sys.argv[2], run.predict_proba(plait.draw(rows=64, seed=1, size=32)))
"""


def test_a_moved_run_needs_nothing_else(
    toy_config: Callable[..., Config], image_folder: Path, text_folder: Path, drawn: Pairs, tmp_path: Path
) -> None:
    shutil.copytree(image_folder, tmp_path / "encoders" / "image")
    shutil.copytree(text_folder, tmp_path / "encoders" / "text")
    here = (f"image.model=local-dir:{tmp_path}/encoders/image", f"text.model={tmp_path}/encoders/text+tfidf")
    classifier = Classifier(toy_config("model=early", f"store={tmp_path}/store", *here)).fit(drawn)
    classifier.save(tmp_path / "run")
    expected = classifier.predict_proba(drawn)
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "run").rename(tmp_path / "far" / "away" / "moved")
    shutil.rmtree(tmp_path / "encoders")
    shutil.rmtree(tmp_path / "store")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"},
        "HF_HOME": str(tmp_path / "empty"),
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody answers there
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", CHILD, str(tmp_path / "far/away/moved"), str(tmp_path / "found.npy")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), expected)


# ------------------------------------------------------------------ saving


def test_a_folder_in_the_way(fitted: dict[str, Classifier], run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep me")
    (tmp_path / "file").write_text("keep me")
    replace = "choose another folder, or replace it with overwrite=True"
    for name, text in {
        "run": f"folder '{run}' already holds a run; {replace}",
        "notes": f"folder '{tmp_path}/notes' is not empty; {replace}",
        "file": f"folder '{tmp_path}/file' is a file; give a folder",
    }.items():
        with pytest.raises(RunError) as caught:
            fitted["text"].save(tmp_path / name)
        assert str(caught.value) == text
    assert (tmp_path / "notes" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "keep me"
    assert load(run, device="cpu").model == "late"
    fitted["text"].save(run, overwrite=True)
    assert load(run, device="cpu").model == "text"
    assert not (run / "image").exists()
    (tmp_path / "empty").mkdir()
    fitted["text"].save(tmp_path / "empty")
    assert load(tmp_path / "empty", device="cpu").model == "text"


def test_not_fitted(tmp_path: Path, drawn: Pairs) -> None:
    for ask in (lambda: Classifier().save(tmp_path / "run"), lambda: Classifier().predict(drawn)):
        with pytest.raises(NotFittedError) as caught:
            ask()
        assert str(caught.value) == "this classifier is not fitted; call fit(pairs) first, or plait.load(folder)"
        assert isinstance(caught.value, PlaitError)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_save_that_fails_leaves_nothing(
    fitted: dict[str, Classifier], run: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)  # the head is written after the encoders
    before = sorted(run.parent.rglob("*"))
    folder = run if overwrite else run.parent / "second"
    with pytest.raises(RunError) as caught:
        fitted["late"].save(folder, overwrite=overwrite)
    assert str(caught.value) == f"folder '{folder}' cannot be written: No space left on device; choose another folder"
    assert sorted(run.parent.rglob("*")) == before
    assert load(run, device="cpu").model == "late"


# ------------------------------------------------------------------ damaged


@pytest.mark.parametrize("name", [*WEIGHTS, "text-0/tokenizer.json", "image/config.json"])
def test_altered_cut_and_missing_files(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1
    again = "copy the run again or fit it anew"
    for content in (bytes(altered), whole[:-1], b""):
        (run / name).write_bytes(content)
        assert refused(run) == f"run '{run}': '{name}' is not as it was written; {again}"
    (run / name).unlink()
    assert refused(run) == f"run '{run}' is incomplete: '{name}' is missing; {again}"
    (run / name).write_bytes(whole)
    assert load(run, device="cpu").model == "late"


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone") == f"no such run folder: '{tmp_path}/gone'"
    assert refused(tmp_path) == f"'{tmp_path}' is not a run: it has no run.json; give a folder written by plait fit"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file") == f"no such run folder: '{tmp_path}/file'"


def test_a_damaged_manifest(run: Path) -> None:
    text = (run / "run.json").read_text("utf-8")
    again = "copy the run again or fit it anew"
    for content in (text[: len(text) // 2], "", "[]", "3", '{"format": "soon"}', '{"format": null}', "\xff"):
        (run / "run.json").write_bytes(content.encode("latin-1"))
        assert refused(run) == f"run '{run}': run.json is damaged; {again}"
    (run / "run.json").write_text(
        json.dumps({k: v for k, v in json.loads(text).items() if k not in ("head", "labels")})
    )
    assert refused(run) == f"run '{run}': run.json lacks head, labels; {again}"
    (run / "run.json").write_text(text, "utf-8")
    rewrite(run, files={})
    assert refused(run) == f"run '{run}': run.json lists no head.safetensors; {again}"


def test_a_newer_format(run: Path) -> None:
    rewrite(run, format=4, plait="9.0")
    assert refused(run) == (
        f"run '{run}' has format 4, written by plait 9.0; this plait reads up to format 3: upgrade plait"
    )


@pytest.mark.parametrize("change", [{"head": {}}, {"labels": 3}, {"encoders": []}, {"metrics": 1}, {"labels": ["a"]}])
def test_manifest_values_of_another_kind(run: Path, change: dict[str, Any]) -> None:
    rewrite(run, **change)
    assert refused(run).startswith(f"run '{run}'")


def test_a_run_of_an_older_plait(run: Path) -> None:
    """Whose heads had no experts."""
    head = {name: value for name, value in manifest(run)["head"].items() if name != "experts"}
    rewrite(run, head=head)
    assert refused(run) == (
        f"run '{run}' cannot be loaded: its head is of an older plait, which answered without experts; fit it anew"
    )


def test_an_unknown_config_key(run: Path) -> None:
    rewrite(run, config={**manifest(run)["config"], "imgae": 1})
    assert refused(run) == f"run '{run}' cannot be loaded: unknown key 'imgae'. Did you mean 'image'?"


def test_plait_load_is_runs_load() -> None:
    assert plait.load is load
