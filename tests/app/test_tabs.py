"""The tabs beside the answer in a browser: rows of an index, a caption, a recipe, and what goes wrong there."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs Chromium on the PATH", allow_module_level=True)
pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'plait[app]'")
pytest.importorskip("captum", reason="attribution needs Captum: pip install 'plait[app]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright to drive a browser")

import plait  # noqa: E402
from plait.app.extras import Extras  # noqa: E402
from plait.app.pictures import Limits  # noqa: E402
from plait.app.serve import served  # noqa: E402
from plait.config import Config  # noqa: E402
from plait.pipeline.classifier import Classifier  # noqa: E402
from plait.pipeline.kitchen import Kitchen  # noqa: E402
from plait.pipeline.recipe import Columns, Cookbook  # noqa: E402
from plait.retrieval.index import Index  # noqa: E402
from plait.retrieval.space import space_of  # noqa: E402

HOSTILE = "<script>document.title='taken'</script> & <b>pie</b>"


class Says:
    """A captioner of one sentence."""

    name = "says"

    def caption(self, images: list[Any]) -> list[str]:
        return [f"a dish of {image.width} by {image.height}" for image in images]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 drawn dishes as files and a table, the first of them with a hostile title."""
    folder = tmp_path_factory.mktemp("shop")
    pairs = plait.draw(rows=120, seed=1, size=32)
    with (folder / "dishes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "image", "text", "label", "price", "ingredients"])
        for row, (ref, text, label) in enumerate(zip(pairs.images(), pairs.texts, pairs.labels, strict=True)):
            (folder / f"{row}.png").write_bytes(ref.load() if ref else b"")
            title = HOSTILE if row == 0 else text or ""
            table.writerow([f"d{row}", f"{row}.png" if ref else "", title, label, row, '["salt", "water"]'])
    return folder


@pytest.fixture(scope="module")
def address(shop: Path, toy_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    work = tmp_path_factory.mktemp("tabs")
    config = toy_config("model=late", f"store={work / 'store'}")
    Classifier(config).fit(shop / "dishes.csv").save(work / "run")
    engine = plait.load(work / "run")
    engine.config = config
    index = Index.build(work / "run", shop / "dishes.csv", work / "index", keep=["price"])
    book = Cookbook(engine, space_of(engine), shop / "dishes.csv", Columns("ingredients", ("price",)))
    extras = Extras(index, Says(), Kitchen(book, precision=0.5))  # type: ignore[arg-type]
    with served(engine, "a-run", [], port=0, limits=Limits(letters=200), extras=extras) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str, shop: Path) -> Iterator[Any]:
    """The page with the picture of the first dish; no script may have failed, or run that a row brought."""
    errors: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#card .card")
    page.set_input_files("#picture input[type=file]", str(shop / "0.png"))
    page.locator("#card").filter(has_text="Where it looked").wait_for()
    yield page
    assert errors == []
    assert page.title() == "plait: a-run"
    page.close()


def go(page: Any, tab: str) -> Any:
    page.get_by_role("tab", name=tab).click()
    page.locator(f"#{tab.lower()}-button").click()
    return page.locator(f"#{tab.lower()}-card")


def test_find(page: Any) -> None:
    card = go(page, "Find")
    card.filter(has_text="12 rows, the most alike first").wait_for()
    rows = card.locator(".found li")
    assert rows.count() == 12
    assert HOSTILE in card.inner_text()  # as it is written, and as no markup
    assert card.locator(".found li img").first.get_attribute("src").startswith("data:image/jpeg;base64,")
    field = page.locator("#find-where input, #find-where textarea").first
    field.fill("price < 3")
    field.press("Enter")
    card.filter(has_text="3 rows, the most alike first").wait_for()
    field.fill("cost < 3")
    field.press("Enter")
    line = page.locator("#notice").filter(has_text="cost")
    line.wait_for()
    assert "Did you mean" in line.inner_text() or "no column" in line.inner_text().lower()


def test_caption_and_its_use_as_a_title(page: Any) -> None:
    card = go(page, "Caption")
    card.filter(has_text="a dish of 32 by 32").wait_for()
    assert "written by a machine: says" in card.inner_text()
    page.locator("#take-button").click()
    page.wait_for_function("() => document.querySelector('#title textarea, #title input').value.includes('a dish of')")


def test_recipe(page: Any) -> None:
    card = go(page, "Recipe")
    card.filter(has_text="[d0]").wait_for()
    text = card.inner_text()
    assert "salt, water" in text
    assert HOSTILE in text
    assert "the dish" in text


def test_nothing_to_go_by(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.set_default_timeout(20_000)
    page.goto(address)
    page.wait_for_selector("#card .card")
    go(page, "Caption")
    page.locator("#notice").filter(has_text="There is nothing to describe yet: give a picture.").wait_for()
    go(page, "Find")
    page.locator("#notice").filter(has_text="The query has neither an image nor a text").wait_for()
    go(page, "Recipe")
    page.locator("#notice").filter(has_text="The query has neither an image nor a text").wait_for()
    page.close()


def test_no_tabs_without_what_they_need() -> None:
    assert Extras().names == ()
    assert Extras(cookbook=SimpleNamespace()).names == ("recipe",)  # type: ignore[arg-type]
