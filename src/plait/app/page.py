"""The page's parts, and what its events do."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from plait.app.card import card, empty, notice
from plait.app.examples import Example
from plait.app.extras import Extras, guarded, too_long
from plait.app.pictures import Held, Limits, Picture, from_data, read_picture
from plait.app.reply import NAMES, read_text, reply
from plait.app.style import BRAND
from plait.app.tabs import BLANK, Tab, make_tab
from plait.inference.engine import Engine
from plait.inference.explanation import attribute

# Seconds: how often uploaded files are looked through, and how old they may get. They are read at once; what is left
# is the time for a browser to fetch its preview.
CLEANED = (15, 60)
# On a narrow screen the answer is below what was asked.
SCROLL = """() => { if (innerWidth < 760) document.querySelector('#answer').scrollIntoView(
  {behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'}) }"""
PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
ENGINE: dict[str, Any] = {"concurrency_id": "engine", "concurrency_limit": 1, **PRIVATE}

Shown = tuple[str, str]  # the notice and the card, as HTML


class Desk:
    """What the events of every open page do. Pictures belong to a session, so nobody sees another's."""

    def __init__(self, engine: Engine, limits: Limits, examples: list[Example], extras: Extras | None = None):
        self.engine, self.limits, self.examples = engine, limits, examples
        self.extras = extras or Extras()
        self.held = Held()

    @property
    def blank(self) -> str:
        """The card with no answer."""
        return empty(self.engine.modalities, bool(self.examples))

    def take(self, file: dict[str, Any], title: str, request: gr.Request) -> Iterator[tuple[Any, str, str]]:
        """A picture was dropped: read it, and answer. One that cannot be read leaves the title to count.

        Args:
            file: its ``path`` is where the upload is; Gradio has made sure that it is an upload.
        """
        try:
            picture = read_picture(self.engine, Path(file["path"]).read_bytes(), self.limits)
            self.held.keep(_session(request), picture)
        except (OSError, ValueError) as error:
            self.held.forget(_session(request))
            counts = " The title still counts." if "text" in self.engine.modalities else ""
            line = f"The picture cannot be used: {error}.{counts}"
            for _, answer in self.answer(title, request) if title.strip() else [("", self.blank)]:
                yield None, notice(line), answer
            return
        for line, answer in self.answer(title, request):
            yield gr.skip(), line, answer

    def drop(self, title: str, request: gr.Request) -> Iterator[Shown]:
        """The picture was taken away again."""
        self.held.forget(_session(request))
        if not (title or "").strip():
            yield "", self.blank
        else:
            yield from self.answer(title, request)

    def answer(self, title: str | None, request: gr.Request) -> Iterator[Shown]:
        """Notice and card: first with the answer, then with where it looked."""
        picture = self.held.get(_session(request)) if "image" in self.engine.modalities else None
        if line := too_long(title, self.limits):
            yield notice(line), self.blank
            return
        text = read_text(self.engine, title) if "text" in self.engine.modalities else None
        if picture is None and text is None:
            needed = " or ".join(f"a {NAMES[modality]}" for modality in self.engine.modalities)
            yield notice(f"There is nothing to go by yet: give {needed}."), self.blank
            return
        try:
            for one in self._answer(picture, text):
                yield "", one
        except Exception:  # a visitor can mend nothing here, and whoever runs the page needs to know
            traceback.print_exc(file=sys.stderr)
            yield notice("This could not be answered; the terminal that runs the page says why."), self.blank

    def beside(self, name: str, title: str | None, where: str, request: gr.Request) -> Iterator[tuple[str, ...]]:
        """Notice and card of another tab, and for captions what was said."""
        picture, blank = self.held.get(_session(request)), [BLANK[name]]
        if line := too_long(title, self.limits):
            yield notice(line), *blank
            return
        if name == "caption":
            cards: Iterator[Any] = self.extras.caption(picture)
            blank.append("")
        elif name == "find":
            cards = self.extras.find(picture, title, where)
        else:
            cards = self.extras.recipe(picture, title)
        for line, *shown in guarded(cards, blank):
            yield notice(line), *shown

    def show(self, number: int, request: gr.Request) -> Iterator[tuple[Any, Any, str, str]]:
        """An example was clicked."""
        example = self.examples[number]
        self.held.forget(_session(request))
        shown, text = None, example.text or ""
        if example.picture is not None:
            try:
                self.held.keep(_session(request), example.picture)
            except ValueError as error:
                yield None, text, notice(f"The picture cannot be used: {error}."), self.blank
                return
            shown = from_data(example.picture.shown)
        for line, answer in self.answer(text, request):
            yield shown, text, line, answer
            shown, text = gr.skip(), gr.skip()

    def clear(self, request: gr.Request) -> tuple[None, str, str, str]:
        """Everything as it was in the beginning."""
        self.held.forget(_session(request))
        return None, "", "", self.blank

    def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        self.held.forget(_session(request))

    def _answer(self, picture: Picture | None, text: str | None) -> Iterator[str]:
        pixels = picture.pixels if picture is not None else None
        said = reply(self.engine, pixels, text)
        yield card(said, picture, text)
        yield card(said, picture, text, attribute(self.engine, pixels, text, said.index))


def page(desk: Desk, name: str) -> Any:
    """The page of a run called `name`."""
    with gr.Blocks(title=f"plait: {name}", analytics_enabled=False, delete_cache=CLEANED) as blocks:
        gr.HTML(_brand(desk.engine, name))
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=4, min_width=300), gr.Column(elem_id="ask"):
                picture, title = _inputs(desk)
                with gr.Row(elem_id="actions"):
                    ask = gr.Button("Answer", variant="primary", elem_id="answer-button")
                    clear = gr.Button("Clear", elem_id="clear-button")
                buttons = _examples(desk.examples)
            with gr.Column(scale=7, min_width=300, elem_id="answer"):
                line = gr.HTML(elem_id="notice")
                answer, tabs = _answers(desk)
        shown = [line, answer]
        events = [
            # Unprocessed, since Gradio would open the file itself, and answer a damaged one with an error of its own.
            picture.upload(desk.take, [picture, title], [picture, *shown], preprocess=False, **ENGINE),
            picture.clear(desk.drop, [title], shown, **ENGINE),
            gr.on([ask.click, title.submit], desk.answer, [title], shown, **ENGINE),
        ]
        for number, button in enumerate(buttons):
            events.append(button.click(_shower(desk, number), None, [picture, title, *shown], **ENGINE))
        for tab in tabs:
            events += tab.connect(desk.beside, title, line, **ENGINE)
        clear.click(desk.clear, None, [picture, title, *shown], cancels=events, queue=False, **PRIVATE)
        gr.on([ask.click, title.submit, *(button.click for button in buttons)], None, js=SCROLL, **PRIVATE)
        blocks.unload(desk.leave)
    return blocks


def _answers(desk: Desk) -> tuple[gr.HTML, list[Tab]]:
    """The answer's card, in a tab of its own where there are others."""
    if not desk.extras.names:
        return gr.HTML(desk.blank, elem_id="card"), []
    with gr.Tabs(elem_id="tabs"):
        with gr.Tab("Answer"):
            answer = gr.HTML(desk.blank, elem_id="card")
        return answer, [make_tab(name) for name in desk.extras.names]


def _inputs(desk: Desk) -> tuple[gr.Image, gr.Textbox]:
    picture = gr.Image(
        type="filepath", label="Picture", sources=["upload"], buttons=[], height=280, elem_id="picture",
        placeholder="Drop a picture here\nor click to choose one", visible="image" in desk.engine.modalities,
        alt_text="The picture you chose",
    )  # fmt: skip
    title = gr.Textbox(
        label="Title", placeholder="Type its title", lines=1, max_lines=5, max_length=desk.limits.letters,
        elem_id="title", visible="text" in desk.engine.modalities,
    )  # fmt: skip
    return picture, title


def _examples(examples: list[Example]) -> list[gr.Button]:
    if not examples:
        return []
    with gr.Column(elem_id="examples"):
        gr.HTML('<p class="over">or try an example</p>')
        return [
            gr.Button(example.text or "a picture without a title", elem_classes="example", elem_id=f"example-{number}")
            for number, example in enumerate(examples)
        ]


def _shower(desk: Desk, number: int) -> Any:
    def show(request: gr.Request) -> Iterator[tuple[Any, Any, str, str]]:
        yield from desk.show(number, request)

    return show


def _brand(engine: Engine, name: str) -> str:
    reads = " and ".join({"image": "pictures", "text": "titles"}[modality] for modality in engine.modalities)
    facts = f"{name} · reads {reads} · {len(engine.labels)} classes"
    return f'<header class="brand">{BRAND}<h1>plait</h1><span>{escape(facts)}</span></header>'


def _session(request: gr.Request) -> str:
    return str(request.session_hash)
