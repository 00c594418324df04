"""`plait serve` as a client meets it: answers, errors, information, metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")

import httpx
from serving import b64, error, fitted, metric, opened, serving

from plait.config import Config
from plait.inference.engine import Engine, Item
from toys import picture

RAW = "application/json"


@pytest.fixture(scope="module")
def engine(toy_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return opened(fitted(toy_config, tmp_path_factory.mktemp))


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[httpx.Client]:
    with serving(engine) as client:
        yield client


def expected(engine: Engine, item: Item, number: int = 5) -> dict[str, float]:
    """The best labels that the engine gives one item by itself."""
    row = engine.answer([item])[0]
    return {engine.labels[k]: float(row[k]) for k in np.argsort(-row, kind="stable")[:number]}


def assert_answers(answer: dict[str, Any], engine: Engine, item: Item) -> None:
    top = {one["label"]: one["confidence"] for one in answer["top5"]}
    wanted = expected(engine, item)
    assert top == pytest.approx(wanted, abs=1e-5)
    assert answer["label"] == next(iter(wanted))
    assert answer["confidence"] == answer["top5"][0]["confidence"]
    used = [name for name, one in (("image", item.image), ("text", item.text)) if one]
    assert answer["modalities"] == used


@pytest.mark.parametrize(
    "item",
    [Item(picture(3), "miso ramen"), Item(None, "miso ramen"), Item(picture(5, kind="JPEG"), None)],
    ids=["both", "text", "image"],
)
def test_one_item_as_json_and_as_form(client: httpx.Client, engine: Engine, item: Item) -> None:
    body = {"image": b64(item.image) if item.image else None, "text": item.text}
    as_json = client.post("/predict", json=body)
    assert as_json.status_code == 200
    assert_answers(as_json.json(), engine, item)
    files = {"image": ("../../etc/passwd", item.image)} if item.image else {"text": (None, item.text)}
    as_form = client.post("/predict", files=files, data={"text": item.text} if item.text and item.image else None)
    assert as_form.json() == as_json.json()


def test_as_many_labels_as_were_asked_for(client: httpx.Client, engine: Engine) -> None:
    as_now = client.post("/predict", json={"text": "miso ramen"}).json()
    assert len(as_now["top5"]) == 5
    assert "top" not in as_now
    labels = len(engine.labels)
    every = client.post("/predict", json={"text": "miso ramen", "top": labels}).json()
    assert [one["label"] for one in every["top"]] == list(expected(engine, Item(None, "miso ramen"), labels))
    assert every["top"][:5] == as_now["top5"]
    three = {
        "label": as_now["label"],
        "confidence": as_now["confidence"],
        "top": every["top"][:3],
        "modalities": ["text"],
    }
    for number in (3, 3.0):
        assert client.post("/predict", json={"text": "miso ramen", "top": number}).json() == three
    assert client.post("/predict", files={"text": (None, "miso ramen"), "top": (None, "3")}).json() == three
    assert client.post("/predict", json={"text": "miso ramen", "top": None}).json() == as_now
    several = client.post("/predict", json={"items": [{"text": "miso ramen"}, {"text": "green bowl"}], "top": 1}).json()
    assert [len(one["top"]) for one in several["answers"]] == [1, 1]
    assert several["answers"][0]["top"] == every["top"][:1]


@pytest.mark.parametrize("top", [0, -1, 17, 10**20, 2.5, float("nan"), True, "3", [], {}])
def test_labels_that_cannot_be_asked_for(client: httpx.Client, engine: Engine, top: Any) -> None:
    assert len(engine.labels) == 16
    message = "top is no whole number from 1 to 16, the number of labels; send one that is"
    for body in ({"text": "soup", "top": top}, {"items": [{"text": "soup"}], "top": top}):
        refused = client.post("/predict", content=json.dumps(body), headers={"content-type": RAW})
        assert (refused.status_code, error(refused)) == (422, message)
    for field in ((None, f"{top}x"), (None, ""), (None, "9" * 5000), ("a.txt", b"3")):
        refused = client.post("/predict", files={"text": (None, "soup"), "top": field})
        assert (refused.status_code, error(refused)) == (422, message)
    one = client.post("/predict", json={"items": [{"text": "soup", "top": 3}]}).json()["answers"][0]
    assert one == {"error": "unknown key 'top'. Known: image, text."}


def test_a_bad_item_does_not_take_its_batch_along(client: httpx.Client, engine: Engine) -> None:
    good = [Item(picture(1), "red soup"), Item(None, "green bowl"), Item(picture(2), None)]
    items: list[Any] = [{"image": b64(one.image) if one.image else None, "text": one.text} for one in good]
    items[1:1] = [{"image": b64(b"GIF89a")}, {"text": " "}, 7]
    answers = client.post("/predict", json={"items": items}).json()["answers"]
    assert [one["error"] for one in answers[1:4]] == [
        "image cannot be read (not a JPEG, PNG, WebP, GIF or BMP file); send another file",
        "the item has nothing to go by; give an image or a text",
        "an item is a JSON number; send an object with image, text or both",
    ]
    for answer, item in zip([answers[0], *answers[4:]], good, strict=True):
        assert_answers(answer, engine, item)


def test_requests_batched_together_do_not_mix(engine: Engine) -> None:
    items = [Item(picture(i), f"dish number {i}") if i % 3 else Item(None, f"row {i}") for i in range(48)]
    with serving(engine, wait=0.05) as client, ThreadPoolExecutor(16) as pool:
        bodies = [{"image": b64(one.image) if one.image else None, "text": one.text} for one in items]
        answers = list(pool.map(lambda body: client.post("/predict", json=body).json(), bodies))
        batches = metric(client, "plait_batch_items_count")
    assert batches < len(items)  # they were computed together
    for answer, item in zip(answers, items, strict=True):
        assert_answers(answer, engine, item)


def test_an_item_the_encoders_fail_on(engine: Engine) -> None:
    broken = replace(engine)

    def encode(images: Any, texts: list[str | None]) -> Any:
        if "poison" in texts:
            raise RuntimeError("a secret text")
        return engine.encode(images, texts)

    broken.encode = encode  # type: ignore[method-assign,assignment]
    with serving(broken) as client:
        answers = client.post("/predict", json={"items": [{"text": "soup"}, {"text": "poison"}]}).json()["answers"]
        assert_answers(answers[0], engine, Item(None, "soup"))
        assert answers[1] == {"error": "the server failed on this item; its log says where"}
        alone = client.post("/predict", json={"text": "poison"})
        assert (alone.status_code, alone.json()) == (500, answers[1])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, 'the body is empty; send {"image": BASE64, "text": "..."}, or {"items": [...]} for several'),
        (b"{", 400, "the body is not JSON (Expecting property name enclosed in double quotes at line 1, column 2)"),
        (b"\xff", 400, "the body is not UTF-8; send JSON in UTF-8"),
        (b"[" * 5000, 400, "JSON nested too deeply"),
        (b"[" * 400_000, 400, "JSON of too many parts"),
        (b"[" + b"9" * 5000 + b"]", 400, "JSON with a number of too many digits"),
        (b"[]", 422, "the body is a JSON list; send"),
        (b'{"items": []}', 422, "items is a JSON list of none; send"),
        (b'{"items": {}}', 422, "items is a JSON object; send"),
        (b'{"imgae": "x"}', 422, "unknown key 'imgae'. Did you mean 'image'?"),
        (b'{"items": [{"text": "a"}], "text": "b"}', 422, "unknown key 'text'. Known: items, top."),
        (b'{"text": 5}', 422, "text is a JSON number; send it as a string"),
        (b'{"text": "a\\u0000b"}', 422, "text holds a NUL character; take it out"),
        (b'{"text": "\\ud800"}', 422, "text holds half of a surrogate pair; send valid Unicode"),
        (b"{}", 422, "the item has nothing to go by; give an image or a text"),
        (b'{"image": ""}', 422, "image is empty; send a file's bytes, or leave it away"),
        (b'{"image": "/etc/passwd"}', 422, "image is not base64; send the file's bytes as base64 (a path or URL"),
        (b'{"image": "http://127.0.0.1/a.png"}', 422, "image is not base64"),
    ],
    ids=lambda value: None if isinstance(value, int) else str(value[:20]),
)
def test_malformed_json(client: httpx.Client, body: bytes, status: int, message: str) -> None:
    response = client.post("/predict", content=body, headers={"content-type": RAW})
    assert (response.status_code, error(response)[: len(message)]) == (status, message)


def test_malformed_forms_and_types(client: httpx.Client) -> None:
    form = "multipart/form-data; boundary=x"
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\nhello\r\n'
    for kind, content, status, message in [
        ("text/plain", b"x", 415, "wrong Content-Type; send application/json or multipart/form-data"),
        ("", b"x", 415, "wrong Content-Type"),
        ("multipart/form-data", b"x", 400, "the body is no multipart form (Missing boundary in multipart); send"),
        (f"{form}; charset=utf-7", b"x", 415, "a form in another charset; send it in UTF-8"),
        (form, b"--x\r\nfoo\r\n", 400, "the body is no multipart form (Invalid multipart data)"),
        (form, part % b"image" + b"--x--", 422, "image is a form field without a file"),
        (form, part % b"label" + b"--x--", 422, "unknown key 'label'. Known: image, text, top."),
        (form, part % b"text" + part % b"text" + b"--x--", 422, "give one image, one text or one of each"),
        (form, b"--x--", 422, "give one image, one text or one of each"),
    ]:
        response = client.post("/predict", content=content, headers={"content-type": kind})
        assert (response.status_code, error(response)[: len(message)]) == (status, message)


def test_info_and_health(client: httpx.Client, engine: Engine) -> None:
    info = client.get("/info").json()
    assert info["labels"] == engine.labels
    assert info["fingerprint"] == engine.fingerprint
    assert (info["model"], info["modalities"]) == ("early", ["image", "text"])
    assert {"plait", "python", "starlette", "uvicorn", "numpy", "pillow", "torch"} <= set(info["versions"])
    assert info["limits"]["items"] == 32
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.get("/predict").headers["allow"] == "POST"
    assert client.get("/docs").status_code == 404


def test_a_run_of_one_modality(toy_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> None:
    engine = opened(fitted(toy_config, tmp_path_factory.mktemp, "text"))
    with serving(engine) as client:
        info = client.get("/info").json()
        assert info["modalities"] == ["text"]
        assert info["note"] == "this run reads only the text; an item without it is refused"
        other = client.post("/predict", json={"image": b64(picture(1))})
        assert other.status_code == 422
        assert error(other) == "this run reads only the text and the item has only an image; add a text"
        both = client.post("/predict", json={"image": b64(picture(1)), "text": "soup"}).json()
        assert_answers(both, engine, Item(None, "soup"))


def test_metrics_count(engine: Engine) -> None:
    with serving(engine) as client:
        client.post("/predict", json={"items": [{"text": "a"}, {"text": "b"}, {}]})
        client.post("/predict", json={})
        client.post("/predict", content=b"x")
        assert metric(client, "plait_items_total") == 2
        assert metric(client, 'plait_requests_total{path="/predict",status="200"}') == 1
        assert metric(client, 'plait_requests_total{path="/predict",status="422"}') == 1
        assert metric(client, 'plait_requests_total{path="/predict",status="415"}') == 1
        assert metric(client, 'plait_refused_total{reason="nothing_to_read"}') == 2
        assert metric(client, 'plait_request_seconds_bucket{path="/predict",le="+Inf"}') == 3
        assert metric(client, "plait_accepted_total") == metric(client, "plait_answered_total") == 3
        assert metric(client, "plait_items_now") == metric(client, "plait_held_bytes") == 0
