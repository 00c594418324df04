"""What was found, said or cooked, as HTML. Every value of a row is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.app.card import render

SHOWN_LETTERS = 400  # of a field

FOUND = """
<article class="card" aria-label="What was found">
  <p class="over">{{ rows|length }} rows, the most alike first</p>
  <ol class="found">
  {%- for row in rows %}
    <li>{% if row.picture %}<img src="{{ row.picture }}" alt="">{% else %}<span class="blank"></span>{% endif %}
    <div><p class="name"><bdi>{{ row.title }}</bdi></p>
    <p class="quiet"><bdi>{{ row.detail }}</bdi></p></div>
    <p class="share">{{ '%.2f' % row.score }}</p></li>
  {%- endfor %}
  </ol>
</article>
"""
SAID = """
<article class="card" aria-label="The caption">
  <p class="over">the caption</p>
  {% if said %}<h2 class="said"><bdi>{{ said }}</bdi></h2>
  {% else %}<p class="verdict">It had nothing to say of this picture.</p>{% endif %}
  <p class="quiet">written by a machine: {{ name }}</p>
</article>
"""
DISH = """
<article class="card" aria-label="The recipe">
  <p class="over">the dish</p>
  <h2><bdi>{{ answer.label|breakable }}</bdi> <span class="sureness">{{ answer.confidence|sure }}</span></h2>
  {% if not answer.fits %}
  <p class="verdict">Nothing in the cookbook matches. The nearest is below the similarity
    {%- if answer.threshold.least < 1e9 %} ({{ '%.2f' % answer.threshold.least }}){% endif %}
    that was right for {{ '%g' % (100 * answer.threshold.precision) }} % of the dishes.</p>
  {% elif answer.written is not none %}
  <p class="written"><bdi>{{ answer.written.text }}</bdi></p>
  {% if answer.written.unknown %}<p class="notice">Cited but not given: {{ answer.written.unknown|join(', ') }}</p>
  {% endif %}
  {% if answer.written.unfounded %}<p class="notice">In no recipe cited: {{ answer.written.unfounded|join(', ') }}</p>
  {% endif %}
  {% endif %}
</article>
{% if recipes %}
<article class="card" aria-label="Recipes most like it">
  <p class="over">{{ 'recipes most like it' if answer.fits else 'the nearest recipes, for what they are worth' }}</p>
  <ol class="found">
  {%- for recipe in recipes %}
    <li>{% if recipe.picture %}<img src="{{ recipe.picture }}" alt="">{% else %}<span class="blank"></span>{% endif %}
    <div><p class="name"><bdi>{{ recipe.title }}</bdi></p>
    {%- for name, value in recipe.fields.items() %}
    <p class="field"><span class="quiet">{{ name }}</span> <bdi>{{ value }}</bdi></p>{% endfor %}
    <p class="quiet">[{{ recipe.id }}]</p></div>
    <p class="share">{{ '%.2f' % recipe.score }}</p></li>
  {%- endfor %}
  </ol>
</article>
{% endif %}
"""
WAITING = """<article class="card empty waiting" role="status"><p>{{ what }}&thinsp;…</p></article>"""
NOTHING = """
<article class="card empty"><h2>{{ title }}</h2><p>{{ what }}</p></article>
"""


@dataclass(frozen=True)
class Found:
    """One row on the page: a title, what else is known of it, how alike it is, and a ``data:`` address."""

    title: str
    detail: str
    score: float
    picture: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any], picture: str | None) -> Found:
        """A row as `Index.find` gives it."""
        title = str(row.get("text") or row.get("label") or row["id"])
        named = ("id", "score", "text", "image")
        known = [f"{name} {value}" for name, value in row.items() if name not in named and str(value) != title]
        return cls(_short(title), _short(" · ".join([*known, f"id {row['id']}"])), float(row["score"]), picture)


@dataclass(frozen=True)
class _Recipe:
    id: str
    title: str
    fields: dict[str, str]
    score: float
    picture: str | None


def found_card(rows: Sequence[Found]) -> str:
    """Rows, the most alike first."""
    return render(FOUND, rows=rows)


def caption_card(said: str, name: str) -> str:
    """A caption, and what wrote it."""
    return render(SAID, said=said, name=name)


def dish_card(answer: Any, pictures: Sequence[str | None]) -> str:
    """A dish and its recipes, as `plait.pipeline.recipe.Answer`."""
    recipes = []
    for (one, near), picture in zip(answer.matches, pictures, strict=True):
        fields = {name: _short(_listed(value)) for name, value in one.fields.items() if name != "title"}
        recipes.append(_Recipe(one.id, _short(one.fields.get("title", one.id)), fields, near, picture))
    return render(DISH, answer=answer, recipes=recipes)


def waiting(what: str) -> str:
    """That something is being done."""
    return render(WAITING, what=what)


def nothing(title: str, what: str) -> str:
    """A tab before anything was asked."""
    return render(NOTHING, title=title, what=what)


def _listed(text: str) -> str:
    """A JSON list of words as words; anything else as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return ", ".join(map(str, value)) if isinstance(value, list) else text


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…"
