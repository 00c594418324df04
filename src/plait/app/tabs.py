"""The tabs beside the answer: what stands in each, and what its button does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from plait.app.results import nothing

# name, title, filter, request -> notice and card, and for captions what was said
Beside = Callable[[str, str, str, gr.Request], Iterator[tuple[str, ...]]]
BLANK = {
    "find": nothing("Nothing sought yet", "Give a picture, a title, or both, and look for the rows most like them."),
    "caption": nothing("Nothing said yet", "Give a picture to have it described."),
    "recipe": nothing("Nothing cooked yet", "Give a picture, a title, or both, and look for recipes like them."),
}
BUTTONS = {"find": "Find", "caption": "Caption it", "recipe": "Find its recipe"}
WHERE = "only rows where, as: label = soup and price < 5"


@dataclass(frozen=True)
class Tab:
    """One tab's parts. Find alone has a filter; a caption alone can be taken as the title."""

    name: str
    button: gr.Button
    card: gr.HTML
    where: gr.Textbox
    said: gr.State | None = None
    take: gr.Button | None = None

    def connect(self, beside: Beside, title: gr.Textbox, line: gr.HTML, **how: Any) -> list[Any]:
        """The tab's events."""
        shown = [line, self.card, *([self.said] if self.said is not None else [])]
        asked = [self.button.click, *([self.where.submit] if self.name == "find" else [])]
        events = [gr.on(asked, _does(beside, self.name), [title, self.where], shown, **how)]
        if self.take is not None and self.said is not None:
            events.append(self.take.click(lambda said: said or gr.skip(), [self.said], [title], **how))
        return events


def make_tab(name: str) -> Tab:
    """A tab of the page that is being made."""
    with gr.Tab(name.capitalize()):
        with gr.Row(elem_classes="ask-row"):
            where = gr.Textbox(
                show_label=False, placeholder=WHERE, container=False, visible=name == "find", elem_id=f"{name}-where",
                max_lines=1,
            )  # fmt: skip
            button = gr.Button(BUTTONS[name], variant="primary", elem_id=f"{name}-button", min_width=140)
            take, said = None, None
            if name == "caption":
                take, said = gr.Button("Use it as the title", elem_id="take-button", min_width=140), gr.State("")
        return Tab(name, button, gr.HTML(BLANK[name], elem_id=f"{name}-card"), where, said, take)


def _does(beside: Beside, name: str) -> Callable[..., Iterator[Any]]:
    def does(title: str, where: str, request: gr.Request) -> Iterator[Any]:
        yield from beside(name, title, where or "", request)

    return does
