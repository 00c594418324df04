"""The answer as HTML: a card with the answer, its columns of bars, and what it came from."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.app.pictures import SHOWN, Picture, as_data
from plait.inference.explanation import Attribution
from plait.report.html import sure

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from plait.app.reply import Reply

FOR, AGAINST = (0, 150, 108), (176, 52, 150)  # as --for and --against of the style
FAINT = 0.25  # log-odds; a map of weaker pulls than this stays pale
SEEN = 0.08  # of the strongest pull; a word of less is not tinted

TEMPLATE = """
{%- macro bars(column) %}
<section class="column {{ column.modality }}">
  <h3>{{ column.name }}</h3>
  <table><caption class="unseen">Top {{ column.top|length }}, {{ column.name }}</caption><tbody>
  {%- for label, share in column.top %}
    <tr{% if loop.first %} class="first"{% endif %}><th scope="row"><bdi>{{ label|breakable }}</bdi></th>
    <td class="share">{{ share|sure }}</td>
    <td class="bar" aria-hidden="true"><i style="width:{{ '%.1f' % (100 * share) }}%"></i></td></tr>
  {%- endfor %}
  </tbody></table>
</section>
{%- endmacro %}
{% if attribution is none %}
<p class="unseen" role="alert">{{ reply.label }}, {{ reply.sureness|sure }}. {{ reply.verdict }}</p>
{% endif %}
<article class="card" aria-label="The answer">
  <p class="over">the answer</p>
  <h2><bdi>{{ reply.label|breakable }}</bdi> <span class="sureness">{{ reply.sureness|sure }}</span></h2>
  <p class="verdict">{{ reply.verdict }}</p>
  {% if reply.detail %}<p class="quiet">{{ reply.detail }}</p>{% endif %}
  <div class="columns n{{ reply.columns|length }}">{% for column in reply.columns %}{{ bars(column) }}{% endfor %}</div>
</article>
<article class="card looked" aria-label="Where it looked">
  <h3 class="title">Where it looked</h3>
  {% if attribution is none %}
  <p class="quiet">Looking: parts of the picture and words are hidden one after another&thinsp;…</p>
  {% else %}
  <p class="legend"><span><i class="for"></i>speaks for <bdi>{{ reply.label }}</bdi></span>
  <span><i class="against"></i>speaks against it</span>
  <span class="quiet">the stronger the colour, the stronger the pull</span></p>
  {% endif %}
  <div class="evidence{% if not (picture and words is not none) %} one{% endif %}">
  {% if picture %}
  <figure>
    <div class="frame"><img src="{{ picture.shown }}" alt="The part of the picture that the run reads">
    {% if heat %}<img class="heat" src="{{ heat }}" alt="Heat map over the picture. {{ place }}">{% endif %}</div>
    {% if heat %}<label class="switch"><input type="checkbox" checked
      onchange="this.closest('figure').classList.toggle('bare', !this.checked)"> heat map</label>
    <figcaption>{{ place }}</figcaption>{% endif %}
  </figure>
  {% endif %}
  {% if words is not none %}
  <div>
    <p class="words" dir="auto">
    {%- for word, side, strength in words %}{% if side %}<mark class="{{ side }}" style="--pull:{{ strength }}%">
    {{- word }}</mark>{% else %}{{ word }}{% endif %} {% endfor %}</p>
    {% if said %}<p class="quiet">{{ said }}</p>{% endif %}
  </div>
  {% endif %}
  </div>
</article>
"""
EMPTY = """
<article class="card empty">
  <svg viewBox="0 0 34 20" aria-hidden="true"><path class="a" d="M1 4c8 0 8 12 16 12s8-12 16-12"/>
  <path class="b" d="M1 16c8 0 8-12 16-12s8 12 16 12"/></svg>
  <h2>Nothing to answer yet</h2>
  <p>{{ what }}</p>
</article>
"""
NOTICE = """<p class="notice" role="alert">{{ line }}</p>"""


def card(
    reply: Reply, picture: Picture | None = None, text: str | None = None, attribution: Attribution | None = None
) -> str:
    """The answer; with no attribution yet, it says that one is coming. Every label and word is escaped."""
    pulls = attribution.words if attribution is not None else None
    cells = attribution.picture if attribution is not None else None
    shown = [(word, "", 0) for word in (text or "").split()] if pulls is None and text else None
    return render(
        TEMPLATE,
        reply=reply,
        attribution=attribution,
        picture=picture,
        heat=heat(cells) if cells is not None else None,
        place=place(cells) if cells is not None else "",
        words=tinted(pulls) if pulls is not None else shown,
        said=said(pulls) if pulls is not None else "",
    )


def empty(modalities: tuple[str, ...], examples: bool) -> str:
    """What the card says before there is anything to answer."""
    what = "Drop a picture, type its title, or both."
    if len(modalities) == 1:
        what = "Drop a picture." if "image" in modalities else "Type a title."
    return render(EMPTY, what=f"{what} Or try an example." if examples else what)


def notice(line: str = "") -> str:
    """One line about something that went wrong; nothing for an empty line."""
    return render(NOTICE, line=line) if line else ""


def heat(cells: np.ndarray) -> str:
    """(G, G) pulls -> a see-through picture of them as a ``data:`` address, green for and purple against."""
    from PIL import Image

    strength = _strength(cells)
    layer = np.zeros((*cells.shape, 4), np.uint8)
    layer[..., :3] = np.where(strength[..., None] > 0, FOR, AGAINST)
    layer[..., 3] = (210 * np.abs(strength)).astype(np.uint8)
    smooth = Image.fromarray(layer, "RGBA").resize((SHOWN // 2, SHOWN // 2), Image.Resampling.BICUBIC)
    return as_data(smooth, "PNG")


def place(cells: np.ndarray) -> str:
    """Where in the picture the strongest pulls are, in a sentence."""
    if float(np.abs(cells).max()) < FAINT:
        return "No part of the picture counted for much."
    parts = []
    if cells.max() >= FAINT:
        parts.append(f"Most for it: {_where(cells)}.")
    if -cells.min() >= max(FAINT, float(cells.max()) / 2):
        parts.append(f"Most against it: {_where(-cells)}.")
    return " ".join(parts)


def said(pulls: list[tuple[str, float]]) -> str:
    """The words that spoke loudest, in a sentence."""
    best = sorted(pulls, key=lambda pull: -pull[1])
    speaks = [word for word, pull in best if pull >= FAINT][:3]
    objects = [word for word, pull in reversed(best) if pull <= -FAINT][:3]
    if not speaks and not objects:
        return "No word counted for much."
    parts = (("Most for it", speaks), ("Most against it", objects))
    return " ".join(f"{what}: {', '.join(words)}." for what, words in parts if words)


def tinted(pulls: list[tuple[str, float]]) -> list[tuple[str, str, int]]:
    """Each word with its side, "for", "against" or "", and the strength of its tint in per cent."""
    strength = _strength(np.array([pull for _, pull in pulls]))
    return [
        (word, ("for" if part > 0 else "against") if abs(part) >= SEEN else "", round(100 * abs(float(part))))
        for (word, _), part in zip(pulls, strength, strict=True)
    ]


def _strength(pulls: np.ndarray) -> np.ndarray:
    """Pulls as -1 to 1, of the strongest."""
    scaled: np.ndarray = pulls / max(float(np.abs(pulls).max(initial=0)), FAINT)
    return scaled


def _where(cells: np.ndarray) -> str:
    row, column = np.unravel_index(int(cells.argmax()), cells.shape)
    across = ("left", "centre", "right")[(6 * int(column) + 3) // (2 * cells.shape[1])]
    down = ("upper", "", "lower")[(6 * int(row) + 3) // (2 * cells.shape[0])]
    return f"the {down} {across}" if down else ("the centre" if across == "centre" else f"the {across}")


def render(template: str, **values: Any) -> str:
    """A template of the page, filled in; every value is escaped."""
    return _environment().from_string(template).render(**values).strip()


def breakable(label: str) -> Markup:
    """A label, escaped, that a narrow column may break behind its underscores."""
    from markupsafe import Markup, escape

    return escape(label).replace("_", Markup("_<wbr>"))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(sure=sure, breakable=breakable)
    return made
