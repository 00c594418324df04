"""`POST /find`: the rows of an index, over HTTP, within the limits of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")

import httpx
from serving import b64, error, fitted, metric, opened, process, serving

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.retrieval.index import Index
from toys import numbered, picture

COUNT = 30


@pytest.fixture(scope="module")
def run(toy_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(toy_config, tmp_path_factory.mktemp)


def rows() -> Pairs:
    return numbered(COUNT).labelled(["soup" if i % 3 else "salad" for i in range(COUNT)])


@pytest.fixture(scope="module")
def index(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(run, rows(), tmp_path_factory.mktemp("find") / "index")


@pytest.fixture(scope="module")
def client(run: Path, index: Index) -> Iterator[httpx.Client]:
    with serving(opened(run), index=plait.Index.open(index.folder)) as client:
        yield client


@pytest.mark.parametrize("sides", [("image", "text"), ("text",), ("image",)])
def test_json_and_form_find_what_python_finds(client: httpx.Client, index: Index, sides: tuple[str, ...]) -> None:
    image = picture(7) if "image" in sides else None
    text = "dish number 7" if "text" in sides else None
    wanted = index.find(image, text, 3)
    body = {"image": b64(image) if image else None, "text": text, "k": 3}
    as_json = client.post("/find", json=body)
    assert as_json.status_code == 200
    fields = {"k": (None, "3")} | ({"text": (None, text)} if text else {})
    as_form = client.post("/find", files=fields | ({"image": ("a.png", image)} if image else {}))
    for answer in (as_json, as_form):
        found = answer.json()["found"]
        assert [one["id"] for one in found] == [one["id"] for one in wanted]
        assert [one["score"] for one in found] == pytest.approx([one["score"] for one in wanted], abs=1e-5)
        assert found[0].keys() == wanted[0].keys()


def test_filters(client: httpx.Client) -> None:
    found = client.post("/find", json={"text": "dish", "k": 100, "where": "label = salad"}).json()["found"]
    assert len(found) == 10
    assert {one["label"] for one in found} == {"salad"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 422, "the item has nothing to go by; give an image or a text"),
        ({"text": " "}, 422, "the item has nothing to go by; give an image or a text"),
        ({"text": "a", "k": 0}, 422, "k is no whole number from 1 to 100; send one that is"),
        ({"text": "a", "k": 101}, 422, "k is no whole number from 1 to 100; send one that is"),
        ({"text": "a", "k": "3"}, 422, "k is no whole number from 1 to 100; send one that is"),
        ({"text": "a", "where": 3}, 422, "where is no text; send 'COLUMN = VALUE' as a string"),
        ({"text": "a", "wher": "x"}, 422, "unknown key 'wher'. Did you mean 'where'?"),
        (
            {"text": "a", "where": "price < 3"}, 422,
            "where: the index has no column 'price'; keep it with keep when it is built. "
            "Known: id, image, label, text.",
        ),
        ({"text": "a", "where": "label = x' OR 1=1"}, 422, None),
        ({"text": "a", "where": "label = pizza"}, 422,
         "where 'label = pizza' leaves none of the 30 rows; ask for less"),
        ({"image": "/etc/passwd"}, 422, None),
        ({"image": b64(b"no image")}, 422,
         "image cannot be read (not a JPEG, PNG, WebP, GIF or BMP file); send another file"),
        ([1], 422, None),
    ],
)  # fmt: skip
def test_refusals(client: httpx.Client, body: object, status: int, message: str | None) -> None:
    answer = client.post("/find", json=body)
    assert answer.status_code == status
    assert message is None or error(answer) == message
    assert error(answer)


def test_limits_are_those_of_predict(run: Path, index: Index) -> None:
    opened_index = plait.Index.open(index.folder)
    with serving(opened(run), index=opened_index, chars=10, pixels=100, bytes=2000) as client:
        assert client.post("/find", json={"text": "x" * 11}).status_code == 413
        assert client.post("/find", json={"image": b64(picture(1, side=11))}).status_code == 413
        assert client.post("/find", json={"text": "x" * 3000}).status_code == 413
        assert client.post("/find", json={"text": "x"}).status_code == 200
        assert client.post("/find", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
        assert metric(client, 'plait_requests_total{path="/find",status="413"}') == 3


def test_a_token_is_asked_for(run: Path, index: Index) -> None:
    with serving(opened(run), b"secret", index=plait.Index.open(index.folder)) as client:
        assert client.post("/find", json={"text": "x"}).status_code == 401
        headers = {"authorization": "Bearer secret"}
        assert client.post("/find", json={"text": "x"}, headers=headers).status_code == 200


def test_it_is_there_only_with_an_index(run: Path, client: httpx.Client) -> None:
    assert "/find" in client.get("/openapi.json").json()["paths"]
    assert client.get("/info").json()["index"] == {"rows": 30, "columns": ["id", "label", "text", "image"], "k": 100}
    assert client.post("/predict", json={"text": "soup"}).status_code == 200
    assert error(client.get("/x")).startswith("no such path; there are POST /predict, /find and GET ")
    with serving(opened(run)) as plain:
        assert plain.post("/find", json={"text": "x"}).status_code == 404
        assert "/find" not in plain.get("/openapi.json").json()["paths"]


@pytest.mark.slow
def test_the_command(run: Path, index: Index) -> None:
    with process(run, "--index", str(index.folder)) as (_, port, _lines):
        answer = httpx.post(f"http://127.0.0.1:{port}/find", json={"text": "dish number 3", "k": 1}, timeout=60)
    assert answer.json()["found"][0]["id"] == index.find(text="dish number 3", k=1)[0]["id"]
