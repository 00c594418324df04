"""`plait serve` as a process: it stops without losing what it accepted, and logs nothing a user sent."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

pytest.importorskip("starlette")

from serving import fitted, metric, opened, process, serving, slowed, until

from plait.config import Config

CLIENTS = 16


@pytest.fixture(scope="module")
def run(toy_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(toy_config, tmp_path_factory.mktemp)


def ask(port: int, stop: threading.Event, answered: list[int], broken: list[str]) -> None:
    """Ask until the server is gone."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        while not stop.is_set():
            try:
                answered.append(client.post("/predict", json={"items": [{"text": "a secret soup"}] * 4}).status_code)
            except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                broken.append(type(error).__name__)  # not accepted: the connection was closed before it was read
                return


@pytest.mark.parametrize("to_group", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["TERM", "Ctrl-C"])
def test_a_signal_under_load_loses_nothing(run: Path, to_group: bool) -> None:
    with process(run) as (started, port, lines):
        stop, answered, broken = threading.Event(), list[int](), list[str]()
        clients = [threading.Thread(target=ask, args=(port, stop, answered, broken)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        while len(answered) < 2 * CLIENTS:
            time.sleep(0.01)
        if to_group:
            os.killpg(started.pid, signal.SIGINT)  # as a terminal does
        else:
            started.terminate()
        for client in clients:
            client.join(30)
        assert started.wait(30) == 0
    assert set(answered) <= {200, 429}
    last = json.loads(lines[-1])
    assert last["event"] == "stopped"
    assert last["accepted"] == last["answered"] == len(answered)
    assert "secret" not in "".join(lines)
    assert all(json.loads(line)["time"] for line in lines)


def test_the_last_answer_on_a_connection_says_so(run: Path) -> None:
    """A client that reads it sends its next request elsewhere, and not into a connection that is being closed."""
    with ThreadPoolExecutor(1) as pool:
        with serving(slowed(opened(run), 0.5)) as client:
            last = pool.submit(httpx.post, f"{client.base_url}/predict", json={"text": "soup"}, timeout=30)
            until(lambda: metric(client, "plait_items_now") == 1)
        assert (last.result().status_code, last.result().headers["connection"]) == (200, "close")
