"""Hostile inputs: each gets a clear 4xx, and the server goes on as if nothing had been."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

pytest.importorskip("starlette")

from hostile import Hostile, inputs
from serving import b64, fitted, metric, opened, process, serving

from plait.config import Config
from toys import picture

SAMPLE = 14  # every so many-th input in the default tests
SECONDS = 20.0


@pytest.fixture(scope="module")
def run(toy_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(toy_config, tmp_path_factory.mktemp)


def exchange(port: int, hostile: Hostile) -> tuple[int, str]:
    """Send one input; the status and the message of its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        try:
            connection.sendall(hostile.sent)
            if not hostile.stalls:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent
        answer = b""
        while part := connection.recv(65536):
            answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            if b"}" in body:
                found, _ = json.JSONDecoder().raw_decode(body.decode())  # garbage behind a request gets a second answer
                refused = [one["error"] for one in found.get("answers", [found])]
                return int(head.split()[1]), str(refused[0])
    raise AssertionError(f"{hostile.name}: closed without an answer: {answer[:200]!r}")


def failures(port: int, found: list[Hostile]) -> list[str]:
    """The inputs that were not answered as they should be."""

    def one(hostile: Hostile) -> str | None:
        try:
            status, message = exchange(port, hostile)
        except (OSError, AssertionError, ValueError, KeyError) as error:
            return f"{hostile.name}: {type(error).__name__} {error}"
        good = status in hostile.wanted and len(message) > 10
        return None if good else f"{hostile.name}: {status} {message}"

    with ThreadPoolExecutor(8) as pool:
        return [failure for failure in pool.map(one, found) if failure]


def test_there_are_enough() -> None:
    found = inputs()
    assert len(found) >= 2000
    assert len({hostile.sent for hostile in found}) >= 2000


def test_a_sample_of_hostile_inputs(run: Path) -> None:
    with serving(opened(run), body_seconds=2.0) as client:
        assert failures(client.base_url.port or 0, inputs()[::SAMPLE]) == []
        assert client.post("/predict", json={"text": "soup", "image": b64(picture(1))}).status_code == 200


def test_polyglots_are_only_images(run: Path) -> None:
    """A whole image with something else behind it gets the image's answer."""
    with serving(opened(run)) as client:
        alone = client.post("/predict", json={"image": b64(picture(1))}).json()
        for more in (b"<script>alert(1)</script>", b"PK\x03\x04" + bytes(100), b"%PDF-1.7"):
            assert client.post("/predict", json={"image": b64(picture(1) + more)}).json() == alone


@pytest.mark.slow
def test_every_hostile_input_twice_in_bounded_memory(run: Path) -> None:
    with (
        process(run, "--max-body-seconds", "2") as (_, port, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        found = inputs()
        assert failures(port, found) == []
        first = metric(client, "process_resident_memory_bytes")
        assert failures(port, found) == []
        assert metric(client, "process_resident_memory_bytes") < first + 200e6
        assert client.post("/predict", json={"text": "soup"}).status_code == 200
        statuses = client.get("/metrics").text
        assert 'status="5' not in statuses
