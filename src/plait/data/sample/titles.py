"""Titles like those of real web pages: a dish in a frame, a site's name, and the odd accident."""

from __future__ import annotations

from random import Random

from plait.data.sample.words import (
    ADJECTIVES,
    BREAKS,
    DEBRIS,
    FAMILY_FRAMES,
    FRAMES,
    JOINS,
    SITES,
    VAGUE,
    WORDS,
)  # fmt: skip


def title(rng: Random, dish: str, names: str | None) -> str:
    """A title for a page about `dish` that names `names`, or, where that is None, no dish at all."""
    if names is not None:
        body = _named(rng, names)
    elif rng.random() < 0.55:
        body = _filled(rng, rng.choice(FAMILY_FRAMES), dish)
    else:
        # a page that says nothing draws its ingredients from any dish
        body = _filled(rng, rng.choice(VAGUE), rng.choice(list(WORDS)))
    return _printed(rng, body)


def _filled(rng: Random, frame: str, dish: str, core: str = "") -> str:
    words = WORDS[dish]
    part, family = rng.choice(words.parts), rng.choice(words.families)
    return frame.format(core=core, part=part, family=family, n=rng.randint(3, 50), m=rng.choice((10, 15, 20, 25, 45)))


def _named(rng: Random, dish: str) -> str:
    words = WORDS[dish]
    core = rng.choice(words.names)
    if rng.random() < 0.05:
        core = _misspelt(rng, core)
    core = " ".join([*rng.sample(ADJECTIVES, rng.choice((0, 1, 1, 2))), core])
    chance = rng.random()
    if chance < 0.3:
        core = f"{core} with {' and '.join(rng.sample(words.parts, rng.randint(1, 2)))}"
    elif chance < 0.33:
        other = rng.choice([name for name in WORDS if name != dish])
        core = f"{core} {rng.choice(JOINS)} {rng.choice(WORDS[other].names)}"
    return _filled(rng, rng.choice(FRAMES), dish, core)


def _misspelt(rng: Random, phrase: str) -> str:
    """Two letters swapped, one lost or one doubled."""
    at = rng.randrange(1, len(phrase) - 1)
    return rng.choice(
        (
            phrase[:at] + phrase[at + 1] + phrase[at] + phrase[at + 2 :],
            phrase[:at] + phrase[at + 1 :],
            phrase[:at] + phrase[at] + phrase[at:],
        )
    )


def _printed(rng: Random, body: str) -> str:
    """The title as the page gives it: site, capitals, debris."""
    if rng.random() < 0.72:
        parts = [body, rng.choice(SITES)]
        if rng.random() < 0.1:
            parts.reverse()
        body = rng.choice(BREAKS).join(parts)
    style = rng.random()
    if style < 0.45:
        body = " ".join(word[:1].upper() + word[1:] for word in body.split(" "))
    elif style < 0.5:
        body = body.upper()
    if rng.random() < 0.1:
        words = body.split(" ")
        words.insert(rng.randint(1, len(words)), rng.choice(DEBRIS))
        body = " ".join(words)
    if rng.random() < 0.06:
        body = body.replace("'", "&#8217;").replace(" & ", " &amp; ")
    return body
