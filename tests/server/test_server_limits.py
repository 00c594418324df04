"""Every limit of `plait serve`, its message, and that nothing is left behind; and the token."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from serving import b64, error, fitted, metric, opened, serving, slowed, until

from plait.config import Config
from plait.errors import ConfigError, RunError
from plait.inference.engine import Engine
from plait.server.limits import Limits
from plait.server.running import bind, read_token
from toys import picture

RAW = "application/json"


@pytest.fixture(scope="module")
def engine(toy_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return opened(fitted(toy_config, tmp_path_factory.mktemp))


def test_limits_of_size(engine: Engine) -> None:
    with serving(engine, bytes=4000, pixels=2000, chars=20, items=2, queue=4) as client:
        large = client.post("/predict", json={"text": "a" * 5000})
        assert large.status_code == 413
        assert error(large) == "a body of more than 4,000 bytes; send less at a time, or raise --max-bytes"
        parts = (b"x" * 500 for _ in range(20))  # chunked: no length is said
        chunked = client.post("/predict", content=parts, headers={"content-type": RAW})
        assert (chunked.status_code, chunked.json()) == (413, large.json())
        image = client.post("/predict", json={"image": b64(picture(1, side=45))})
        assert image.status_code == 413
        assert error(image) == "image of more than 0.002 megapixels; make it smaller, or raise --max-pixels"
        for request in ({"json": {"text": "a" * 21}}, {"files": {"text": (None, "a" * 90)}}):
            text = client.post("/predict", **request)  # type: ignore[arg-type]
            assert text.status_code == 413
            assert error(text) == "text of more than 20 characters; shorten it, or raise --max-chars"
        many = client.post("/predict", json={"items": [{"text": "a"}] * 3})
        assert many.status_code == 413
        assert error(many) == "3 items, more than 2; send several requests, or raise --max-items"
        assert client.post("/predict", json={"items": [{"text": "a" * 20}] * 2}).status_code == 200


def test_limits_that_refuse_everything() -> None:
    with pytest.raises(ConfigError, match=r"^--max-body-seconds 0: must be above 0$"):
        Limits(body_seconds=0)
    with pytest.raises(ConfigError, match=r"^--max-queue 5 is below --max-items 32: such a request could never"):
        Limits(queue=5)


def test_a_full_queue(engine: Engine) -> None:
    with serving(slowed(engine, 0.3), items=2, queue=4, batch=2) as client, ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda i: client.post("/predict", json={"text": f"row {i}"}), range(12)))
        codes = [response.status_code for response in found]
        assert set(codes) == {200, 429}
        assert codes.count(200) >= 4
        refused = next(response for response in found if response.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert error(refused) == "the server is busy: 4 items are waiting; try again in a second"
        assert client.post("/predict", json={"text": "later"}).status_code == 200  # all places were given back
        assert metric(client, 'plait_refused_total{reason="busy"}') == codes.count(429)


def test_an_answer_that_takes_too_long(engine: Engine) -> None:
    with serving(slowed(engine, 1.0), seconds=0.4, body_seconds=0.3) as client:
        late = client.post("/predict", json={"text": "soup"})
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert error(late) == "not answered within 0.4 s; send fewer requests at a time, or raise --max-seconds"
        time.sleep(1.0)
        assert metric(client, "plait_items_now") == 0


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
            "the body",
        ),
        (b"POST /predict HTTP/1.1\r\nhost: x\r\n", "no whole request head within 0.5 s; send it faster"),
        (b"", "no whole request head"),
    ],
    ids=["body", "head", "nothing"],
)
def test_a_slow_client(engine: Engine, sent: bytes, message: str) -> None:
    with serving(engine, body_seconds=0.5) as client:
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as connection:
            connection.sendall(sent)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b'{"error":' in answer.replace(b'": ', b'":')
        assert message.encode() in answer


def test_clients_that_go_away(engine: Engine) -> None:
    body = b'{"text": "soup"}'
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: {RAW}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with serving(slowed(engine, 0.1)) as client:
        for i in range(20):
            with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as connection:
                connection.sendall(head + body[: None if i % 2 else 5])
        until(lambda: metric(client, "plait_answered_total") == 20)
        assert metric(client, "plait_items_now") == metric(client, "plait_held_bytes") == 0
        assert metric(client, 'plait_requests_total{path="/predict",status="200"}') == 10
        assert client.post("/predict", json={"text": "soup"}).status_code == 200


def test_too_many_connections(engine: Engine) -> None:
    with serving(engine, connections=3) as client:
        port = client.base_url.port or 0
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one_more:
            assert one_more.recv(4096).startswith(b"HTTP/1.1 429 ")
        for connection in held:
            connection.close()


def test_a_token(engine: Engine) -> None:
    with serving(engine, token=b"s3cret") as client:
        for given in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "Basic s3cret"}):
            for method, path in (("POST", "/predict"), ("GET", "/info"), ("GET", "/metrics"), ("GET", "/nothing")):
                refused = client.request(method, path, headers=given)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
                assert error(refused) == "no valid token; send the header 'Authorization: Bearer TOKEN'"
        assert client.get("/health").json() == {"status": "ok"}
        bearer = {"authorization": "Bearer s3cret"}
        assert client.post("/predict", json={"text": "soup"}, headers=bearer).status_code == 200


def test_where_a_token_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert read_token(None) is None
    assert read_token(file) == b"from-file"
    monkeypatch.setenv("PLAIT_TOKEN", "from-environment")
    with pytest.raises(ConfigError, match=r"^both PLAIT_TOKEN and --token-file are given; leave one away$"):
        read_token(file)
    monkeypatch.setenv("PLAIT_TOKEN", "from-environment")
    assert read_token(None) == b"from-environment"
    monkeypatch.setenv("PLAIT_TOKEN", " ")
    with pytest.raises(ConfigError, match=r"^PLAIT_TOKEN: no token in it"):
        read_token(None)
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\)"):
        read_token(tmp_path / "nothing")


def test_an_address_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=rf"^cannot listen on 127.0.0.1:{port} \(Address already in use\); give"):
            bind("127.0.0.1", port)
