"""The page in a browser: what is asked and answered, what goes wrong, what leaves the machine, and what stays on it."""

from __future__ import annotations

import io
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs Chromium on the PATH", allow_module_level=True)
pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'plait[app]'")
pytest.importorskip("captum", reason="attribution needs Captum: pip install 'plait[app]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright to drive a browser")


from plait.app.examples import Example  # noqa: E402
from plait.app.pictures import Limits, read_picture  # noqa: E402
from plait.app.serve import served  # noqa: E402
from toy_engine import LABELS, make_engine, pixels  # noqa: E402

LIMITS = Limits(megabytes=1, megapixels=1, letters=60)
CARD, NOTICE = "#card .card", "#notice .notice"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


RAMEN, SALAD = png(pixels()), png(pixels(red=False, blue=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where temporary files go, to look at what is left there."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """The desk and the blocks of the page that is served."""
    return {}


@pytest.fixture(scope="module")
def address(folder: Path, parts: dict[str, Any]) -> Iterator[str]:
    """The served page; its server may reach for no other machine, and leaves nothing behind."""
    from plait.app import page as pages

    engine = make_engine()
    rows = [
        Example(read_picture(engine, SALAD, LIMITS), "ramen to go", "data:,"),
        Example(None, "salad with a title of its own"),
    ]
    called: list[Any] = []
    build, connect = pages.page, socket.socket.connect

    def built(desk: Any, name: str) -> Any:
        parts.update(desk=desk, blocks=build(desk, name))
        return parts["blocks"]

    def connected(self: socket.socket, to: Any) -> None:
        called.append(to)
        connect(self, to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setattr(pages, "page", built)
        patch.setattr(socket.socket, "connect", connected)
        with served(engine, "a-run", rows, port=0, limits=LIMITS) as url:
            assert urlsplit(url).hostname == "127.0.0.1"
            assert len(list(folder.iterdir())) == 1
            yield url
    assert {to[0] for to in called if isinstance(to, tuple)} <= {"127.0.0.1", "localhost", "::1"}
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    """One browser for all, so that it loads Gradio's scripts once."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_context()
        browser.close()


Open = Callable[..., Any]


@pytest.fixture
def visit(context: Any, address: str) -> Iterator[Open]:
    """Opens the page; when the test ends, nothing may have been asked of another host, nor any script have failed."""
    pages, asked, errors = [], [], []

    def opened(size: dict[str, int] = DESKTOP) -> Any:
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size(size)
        page.set_default_timeout(15_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector(CARD)
        return page

    yield opened
    for page in pages:
        page.close()
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}
    assert errors == []


def drop(page: Any, content: bytes, name: str = "photo.png", kind: str = "image/png") -> None:
    page.set_input_files("#picture input[type=file]", {"name": name, "mimeType": kind, "buffer": content})


def ask(page: Any, title: str) -> None:
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Answer").click()


def wait_for(page: Any, text: str, where: str = "#card") -> str:
    """The text of a part of the page, once it holds `text`."""
    page.locator(where).filter(has_text=text).wait_for()
    return str(page.inner_text(where))


def columns(page: Any) -> list[str]:
    return [heading.inner_text() for heading in page.locator("#card .column h3").all()]


def test_picture_and_title(visit: Open) -> None:
    page = visit()
    assert "Drop a picture, type its title, or both." in page.inner_text("#card")
    drop(page, SALAD)
    assert "By the picture alone" in wait_for(page, "salad")
    ask(page, "hot ramen")
    said = wait_for(page, "title alone")
    wait_for(page, "speaks for")
    assert page.inner_text("#card h2").startswith("salad")
    assert "The picture decided; the title alone says ramen." in said
    assert columns(page) == ["together", "picture alone", "title alone"]
    rows = page.locator("#card .column").nth(2).locator("tr")
    assert rows.count() == min(5, len(LABELS))
    assert rows.first.inner_text().split()[0] == "ramen"


def test_where_it_looked(visit: Open) -> None:
    page = visit()
    drop(page, RAMEN)
    wait_for(page, "By the picture alone")
    ask(page, "ramen no salad")
    wait_for(page, "title alone")
    wait_for(page, "speaks for ramen")
    assert page.locator("#card mark.against").all_inner_texts() == ["salad"]
    assert page.locator("#card img.heat").get_attribute("alt").endswith("Most for it: the right.")
    page.get_by_label("heat map").uncheck()
    assert not page.locator("#card img.heat").is_visible()


def test_clear_clears_everything(visit: Open) -> None:
    page = visit()
    drop(page, RAMEN)
    wait_for(page, "speaks for ramen")
    page.get_by_label("Title").fill("salad")
    page.get_by_role("button", name="Clear", exact=True).click()
    wait_for(page, "Nothing to answer yet")
    assert page.get_by_label("Title").input_value() == ""
    assert page.locator("#picture img").count() == 0
    page.get_by_role("button", name="Answer").click()
    assert "give a picture or a title" in wait_for(page, "nothing to go by", "#notice")


def test_only_a_title_by_keyboard(visit: Open) -> None:
    page = visit()
    page.get_by_label("Title").fill("ramen")
    page.keyboard.press("Enter")
    said = wait_for(page, "speaks for ramen")
    assert "By the title alone: there is no picture." in said
    assert columns(page) == ["title alone"]
    assert page.locator("#card img").count() == 0


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        (b"this is no picture", "a.jpg", "The picture cannot be used: this is no picture that the page knows"),
        (RAMEN[: len(RAMEN) // 2], "half.png", "The picture cannot be used: "),
        (png(np.zeros((3, 1001, 1201), np.uint8)), "wide.png", "it has 1 megapixels, and 1 are the most"),
    ],
    ids=["corrupt", "cut short", "oversized"],
)
def test_a_bad_picture_leaves_the_title_to_count(visit: Open, content: bytes, name: str, line: str) -> None:
    page = visit()
    drop(page, RAMEN)
    wait_for(page, "speaks for ramen")
    page.get_by_label("Title").fill("salad")
    page.get_by_role("button", name="Remove").or_(page.get_by_label("Clear", exact=True)).first.click()
    page.locator("#picture img").wait_for(state="detached")
    drop(page, content, name)
    said = wait_for(page, line, NOTICE)
    assert said.endswith("The title still counts.")
    assert "\n" not in said
    wait_for(page, "By the title alone")
    assert page.inner_text("#card h2").startswith("salad")
    assert page.locator("#picture img").count() == 0


def test_a_file_that_is_too_large(visit: Open) -> None:
    page = visit()
    drop(page, os.urandom(1_100_000), "big.jpg", "image/jpeg")
    page.get_by_text("exceed the maximum allowed size of 1 ").wait_for()


def test_a_title_that_is_too_long(visit: Open, parts: dict[str, Any]) -> None:
    """The field takes no more, and neither does the server from whoever goes round the field."""
    page = visit()
    field = page.get_by_label("Title")
    field.fill("ramen " * 20)
    assert field.input_value() == ("ramen " * 20)[:60]
    field.evaluate("field => field.removeAttribute('maxlength')")
    ask(page, "ramen " * 20)
    assert wait_for(page, "letters", NOTICE) == "The title has 120 letters; 60 are the most."


def test_examples(visit: Open) -> None:
    page = visit()
    page.get_by_role("button", name="ramen to go").click()
    wait_for(page, "speaks for")
    assert page.get_by_label("Title").input_value() == "ramen to go"
    page.locator("#picture img").wait_for()
    page.get_by_role("button", name="salad with").click()
    wait_for(page, "By the title alone")
    assert page.locator("#picture img").count() == 0


def test_on_a_phone(visit: Open) -> None:
    """Nothing scrolls sideways, before, with and after an answer; an answer is scrolled to."""
    page = visit(PHONE)
    wide = "document.documentElement.scrollWidth > innerWidth || document.body.scrollWidth > innerWidth"
    assert not page.evaluate(wide)
    page.get_by_role("button", name="ramen to go").click()
    wait_for(page, "speaks for")
    assert not page.evaluate(wide)
    page.wait_for_function("document.querySelector('#answer').getBoundingClientRect().top < innerHeight / 2")
    outside = """() => [...document.querySelectorAll('#card *, #ask *')].filter(one => one.checkVisibility()
        && !one.closest('.unseen') && one.getBoundingClientRect().right > innerWidth).map(one => one.outerHTML)"""
    assert page.evaluate(outside) == []


def test_nobody_sees_anothers_picture(visit: Open) -> None:
    one, other = visit(), visit()
    drop(one, RAMEN)
    wait_for(one, "speaks for ramen")
    ask(other, "salad")
    assert "there is no picture" in wait_for(other, "speaks for salad")


def test_nothing_is_fetched_from_elsewhere_even_when_asked_to(visit: Open) -> None:
    """The policy that comes with the page forbids it."""
    page = visit()
    forbidden = "fetch('http://example.invalid/').then(() => 'fetched', error => String(error))"
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        assert "Failed to fetch" in page.evaluate(forbidden)
    policy = page.request.get(page.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


def test_uploads_do_not_stay(visit: Open, folder: Path, parts: dict[str, Any]) -> None:
    """Every few seconds Gradio takes away files older than a minute; here, those of any age, at once."""
    from gradio.route_utils import delete_files_created_by_app

    from plait.app.page import CLEANED

    page = visit()
    drop(page, png(pixels(red=True, blue=True)), "kept.png")
    wait_for(page, "speaks for")
    assert list(folder.rglob("kept.png"))
    assert parts["blocks"].delete_cache == CLEANED == (15, 60)
    delete_files_created_by_app(parts["blocks"], 0)
    assert not [path for path in folder.rglob("*") if path.is_file()]
    ask(page, "salad")  # it still answers, by the small picture that it holds
    wait_for(page, "title alone")


def test_closing_the_page_lets_go_of_its_picture(visit: Open, parts: dict[str, Any]) -> None:
    page = visit()
    drop(page, RAMEN)
    wait_for(page, "speaks for ramen")
    held = parts["desk"].held
    before = len(held)
    assert before >= 1
    page.close()
    deadline = time.monotonic() + 20
    while len(held) >= before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(held) < before
