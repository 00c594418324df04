"""Caches of their own, and toy encoders small enough to run in milliseconds."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Hugging Face libraries read these when they are imported, so they are set before any test module is.
_HOME = tempfile.mkdtemp(prefix="plait-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ.update(HF_HOME=_HOME, PLAIT_CACHE=f"{_HOME}/plait", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # toy models are slower with more, and so are the processes of tests
for _name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TRANSFORMERS_CACHE"):
    os.environ.pop(_name, None)

import pytest  # noqa: E402
import torch  # noqa: E402
import typer.main  # noqa: E402

import plait  # noqa: E402
from plait import cli  # noqa: E402
from plait.config import Config, configure  # noqa: E402
from plait.data.pairs import Pairs  # noqa: E402
from plait.data.sample import rows  # noqa: E402
from plait.encoders.image import TimmEncoder, load_image_encoder  # noqa: E402
from plait.encoders.text import SentenceEncoder, load_sentence_encoder  # noqa: E402
from plait.features.store import FeatureStore  # noqa: E402
from plait.memory import reuse_freed  # noqa: E402
from toys import Run, make_image_folder, make_light_image_folder, make_text_folder  # noqa: E402

torch.set_num_threads(1)
reuse_freed()
atexit.register(gc.unfreeze)  # what a file's tests put aside: libraries complain at the end of what was not cleared


@pytest.fixture(autouse=True, scope="module")
def _looked_through_once() -> None:
    """What was there before a file's tests need not be looked through for garbage: half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a feature store and an encoder cache of its own."""
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path_factory.mktemp("plait-cache")))


@pytest.fixture(autouse=True, scope="session")
def _done_once() -> Iterator[None]:
    """What a process does once is not done again by each of its tests: a tenth of their time otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (rows, "_picture"),  # tests draw the same rows again and again
            (typer.main, "get_command"),  # the command line is made of its functions' signatures
            (torch.cuda, "device_count"),  # looks for a driver's library, in each step of an optimizer
        ):
            patch.setattr(owner, name, functools.cache(getattr(owner, name)))
        patch.setattr(torch.onnx, "export", _with_operators_read_once(torch.onnx.export))
        yield


def _with_operators_read_once(export: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch's exporter reads its library of operators, for three seconds, anew for each graph."""

    def once(*args: Any, **options: Any) -> Any:
        from torch.onnx._internal.exporter import _registration

        registry: Any = _registration.ONNXRegistry
        if not hasattr(registry.from_torchlib, "cache_info"):
            registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))
        return export(*args, **options)

    return once


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp("toy") / "image")


@pytest.fixture(scope="session")
def light_image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Opened without the library that trains it, which a process of its own needs five seconds to import."""
    return make_light_image_folder(tmp_path_factory.mktemp("toy") / "light")


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text_folder(tmp_path_factory.mktemp("toy") / "text")


@pytest.fixture(scope="session")
def toy_config(image_folder: Path, text_folder: Path) -> Callable[..., Config]:
    """``toy_config("model=late", "seed=3")``: a quick configuration with toy encoders."""

    def make(*overrides: str) -> Config:
        quick = ("device=cpu", "image.workers=0", "train.epochs=3", "head.hidden=16", "head.folds=2")
        exact = ("image.precision=32", "text.precision=32", "text.train.precision=32")  # the same on every machine
        encoders = (f"image.model=local-dir:{image_folder}", f"text.model={text_folder}")
        return configure(overrides=[*quick, *exact, *encoders, *overrides])

    return make


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("fit", ...)`` -> exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["plait", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="session")
def quick(image_folder: Path) -> list[str]:
    """Options of a command that trains quickly."""
    settings = [f"image.model=local-dir:{image_folder}", "text.model=tfidf", "image.workers=0", "device=cpu"]
    settings += ["train.epochs=4", "head.hidden=16", "head.folds=2"]
    return [part for one in settings for part in ("--set", one)]


@pytest.fixture(scope="session")
def image_encoder(toy_config: Callable[..., Config]) -> TimmEncoder:
    return load_image_encoder(toy_config().image)


@pytest.fixture(scope="session")
def text_encoder(text_folder: Path, toy_config: Callable[..., Config]) -> SentenceEncoder:
    return load_sentence_encoder(str(text_folder), toy_config("text.batch=4").text)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


@pytest.fixture(scope="session")
def drawn() -> Pairs:
    """64 rows of the sample set, 4 of each of its 16 classes."""
    return plait.draw(rows=64, seed=1, size=32)
