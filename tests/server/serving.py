"""A fitted toy run, and servers of it in a thread of the tests or in a process of their own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx

import plait
from plait.config import Config
from plait.inference.engine import Engine
from plait.pipeline.classifier import Classifier
from plait.retrieval.index import Index
from plait.runs.open import load
from plait.server.limits import Limits
from plait.server.running import Options, bind, build
from toys import make_light_image_folder

RUNS: dict[str, Path] = {}


def fitted(toy_config: Callable[..., Config], folder: Callable[..., Path], model: str = "early") -> Path:
    """A toy run, fitted once for all tests."""
    if model not in RUNS:
        RUNS[model] = folder(f"served-{model}") / "run"
        network = make_light_image_folder(folder(f"served-{model}") / "image")
        encoders = (f"image.model=local-dir:{network}", "text.model=tfidf")
        Classifier(toy_config(f"model={model}", *encoders, "train.epochs=1")).fit(
            plait.draw(rows=64, seed=1, size=32)
        ).save(RUNS[model])
    return RUNS[model]


@cache
def opened(run: Path) -> Engine:
    return load(run, "cpu")


@contextmanager
def serving(
    engine: Engine, token: bytes | None = None, batch: int = 8, wait: float = 0.005, index: Index | None = None,
    **limits: Any,
) -> Iterator[httpx.Client]:  # fmt: skip
    """A client of a server in a thread."""
    server = build(engine, Options(batch=batch, wait=wait, limits=Limits(**limits)), token, index)
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        until_ready(client)
        try:
            yield client
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def until_ready(client: httpx.Client, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError("the server did not start")


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it did not come true")
        time.sleep(0.01)


@contextmanager
def process(run: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """``plait serve`` as a user starts it: the process, its port, its log lines so far."""
    command = [sys.executable, "-m", "plait", "serve", str(run), "--port", "0", "--device", "cpu", *options]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=settings, start_new_session=True)
    lines: list[str] = []
    try:
        assert started.stderr is not None
        for line in started.stderr:
            lines.append(line)
            if line.startswith("{") and json.loads(line)["event"] == "serving":
                break
        reader = threading.Thread(target=lambda: lines.extend(started.stderr or []), daemon=True)
        reader.start()
        yield started, json.loads(lines[-1])["port"], lines
        reader.join(5)
    finally:
        started.kill()
        started.wait()
        if started.stderr is not None:
            started.stderr.close()


def slowed(engine: Engine, seconds: float) -> Engine:
    """The same engine, taking so long for each batch."""
    slow = replace(engine)

    def encode(*args: Any) -> Any:
        time.sleep(seconds)
        return engine.encode(*args)

    slow.encode = encode  # type: ignore[method-assign]
    return slow


def error(response: httpx.Response) -> str:
    """The message of a refused request."""
    assert list(response.json()) == ["error"]
    return str(response.json()["error"])


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def metric(client: httpx.Client, name: str) -> float:
    """The value of one line of /metrics; 0 where it is not there."""
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)
