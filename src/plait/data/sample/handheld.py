"""Savoury dishes for the hand. Each function draws one dish, plate included, on an easel that already has its table."""

from __future__ import annotations

import math

import numpy as np

from plait.data.sample.easel import Colour, Easel, fade, rgb, shade, tone
from plait.data.sample.scene import plate, square
from plait.data.sample.shapes import (
    GREENS,
    chopsticks,
    crumbs,
    dome,
    gleam,
    leaf,
    rod,
    torus,
)


def sushi(e: Easel) -> None:
    """Rolls, or rice topped with fish, in rows on a board."""
    rng = e.rng
    plate(e, ("board", "square", "board", "round"))
    fish = tone(rng, "#f0824a", "#d8435a", "#f4a58a", "#f2d2b0")
    style, lean = rng.choice(("rolls", "rolls", "pieces", "both")), rng.uniform(0, 3)
    columns = rng.randint(2, 4)
    gap = 1.3 / columns
    spots = [((i - (columns - 1) / 2) * gap, (j - 0.5) * 0.62) for i in range(columns) for j in range(2)]
    for n, (x, y) in enumerate(e.back_to_front(spots)):
        if style == "pieces" or (style == "both" and n % 2):
            _piece(e, x, y, min(gap * 1.1, 0.58), lean, fish)
        else:
            _roll(e, x, y, min(gap * 0.47, 0.28), fish)
    if rng.random() < 0.5:
        x, y = e.towards(0.75)
        for px, py in e.scatter(5, 0.12, x, y):
            e.disc(px, py, 0.1, tone(rng, "#f3b6a8", "#f5cfc0"), 0.08, 0.6, rng.uniform(0, 3))
        dome(e, x * 0.9 + 0.25, y * 0.9, 0.1, 0.08, rgb("#9cbf4a"), 0.05)
    if rng.random() < 0.5:
        chopsticks(e, 0.08)


def _roll(e: Easel, x: float, y: float, r: float, fish: Colour) -> None:
    nori = tone(e.rng, "#1f2b26", "#2b2f2a", spread=4)
    inside_out = e.rng.random() < 0.3
    rice = rgb("#f8f5ec")
    e.shadow(x, y, r, 0.4)
    e.slab(
        e.rim(x, y, r), 0.05, 0.3, rice if inside_out else nori, shade(rice, 0.85) if inside_out else shade(nori, 0.9)
    )
    e.disc(x, y, r * 0.84, rice, 0.3, wobble=0.05)
    if inside_out:
        e.disc(x, y, r * 0.58, nori, 0.3)
        crumbs(e, 6, r, 0.3, ("#f08a3c", "#3a3a30"), 0.03, x, y, r * 0.6)
    e.disc(x, y, r * 0.46, fish, 0.3, wobble=0.1)
    e.disc(x + r * 0.12, y + r * 0.1, r * 0.2, tone(e.rng, "#7fae4a", "#f4e3a0"), 0.3)


def _piece(e: Easel, x: float, y: float, length: float, lean: float, fish: Colour) -> None:
    e.shadow(x, y, 0.2, 0.35)
    rod(e, x, y, lean, length * 0.62, 0.25, rgb("#f6f2e6"), 0.03)
    e.slab(square(x, y, length * 0.56, 0.46, lean, 0.3), 0.24, 0.3, fish, shade(fish, 0.75))
    for i in range(-2, 3):
        cx, cy = x + i * length * 0.2 * math.cos(lean), y + i * length * 0.2 * math.sin(lean)
        slant = np.array([math.cos(lean + 1.1), math.sin(lean + 1.1)]) * length * 0.2
        e.stroke(
            e.project(np.array([[cx, cy], [cx, cy]]) + np.array([[-1], [1]]) * slant, 0.3), shade(fish, 1.4), 0.022
        )


def spring_rolls(e: Easel) -> None:
    """Fried golden rolls or rice-paper ones, in a heap, with a dip."""
    rng = e.rng
    plate(e, ("round", "square", "board", "paper"))
    fresh = rng.random() < 0.4
    for x, y in e.scatter(rng.randint(0, 6), 0.8):
        leaf(e, x, y, 0.3, tone(rng, *GREENS), 0.06)
    colour = tone(rng, "#e9e3cf", "#dfe4cc", "#efe2d4") if fresh else tone(rng, "#c98a3c", "#b8702c", "#dba655")
    count, lean, width = rng.randint(3, 6), rng.uniform(0, 3.1), rng.uniform(0.22, 0.3)
    off = np.array([-math.sin(lean), math.cos(lean)])
    spots = [
        (float(off[0] * (i - (count - 1) / 2) * 0.3), float(off[1] * (i - (count - 1) / 2) * 0.3)) for i in range(count)
    ]
    for x, y in e.back_to_front(spots):
        angle, length = lean + rng.uniform(-0.12, 0.12), rng.uniform(0.8, 1.1)
        rod(e, x, y, angle, length, width, shade(colour, rng.uniform(0.9, 1.08)), 0.05)
        if fresh:
            _filling(e, x, y, angle, length)
        if rng.random() < 0.35:
            _cut_end(e, x + math.cos(angle) * length / 2, y + math.sin(angle) * length / 2, width, colour)
    if rng.random() < 0.6:
        a = lean + rng.choice((0.0, math.pi)) + math.pi / 2
        x, y = 0.78 * math.cos(a), 0.78 * math.sin(a)
        e.slab(e.rim(x, y, 0.25), 0.05, 0.2, rgb("#f0ece4"), rgb("#c8c2b6"))
        e.disc(x, y, 0.2, tone(rng, "#b8321f", "#5a2f1c", "#d97f2e"), 0.19)


def _filling(e: Easel, x: float, y: float, angle: float, length: float) -> None:
    for _ in range(5):
        at = e.rng.uniform(-0.4, 0.4) * length
        px, py = x + at * math.cos(angle), y + at * math.sin(angle)
        e.disc(px, py, 0.09, fade(tone(e.rng, "#f08a5a", "#6fa84a", "#e06a4a", "#8a4a7a"), 0.55), 0.27, 0.5, angle)


def _cut_end(e: Easel, x: float, y: float, width: float, colour: Colour) -> None:
    middle = e.project(np.array([[x, y]]), 0.05 + width * 0.5)[0]
    for part, tint in ((0.5, shade(colour, 0.8)), (0.4, rgb("#e8dcb8"))):
        half = width * part * e.scale
        e.pen(tint).ellipse([*(middle - half), *(middle + half)], fill=tint)
    for _ in range(6):
        spot = middle + np.array([e.rng.uniform(-1, 1), e.rng.uniform(-1, 1)]) * width * 0.24 * e.scale
        tint, half = tone(e.rng, "#e07a3a", "#6fa84a", "#a5633f", "#f4e3c8"), width * 0.1 * e.scale
        e.pen(tint).ellipse([*(spot - half), *(spot + half)], fill=tint)


def tacos(e: Easel) -> None:
    """Folded tortillas, filling along the fold."""
    rng = e.rng
    plate(e, ("round", "board", "paper", "round"))
    shell = tone(rng, "#e2b04f", "#efd9a8", "#d99a3c", "#e8c684")
    count = rng.randint(1, 4)
    for i in range(count):
        back = (count - 1) / 2 - i
        x, y = e.towards(-0.42 * back)
        sx, sy = e.across(rng.uniform(-0.12, 0.12))
        _taco(e, x + sx, y + sy, rng.uniform(0.68, 0.82), shade(shell, rng.uniform(0.92, 1.08)))


def _taco(e: Easel, x: float, y: float, r: float, shell: Colour) -> None:
    rng = e.rng
    arc = np.linspace(0.0, 2 * math.pi, 30)
    tall = np.where(arc < math.pi, rng.uniform(0.72, 0.88), 0.14)
    half = np.stack([np.cos(arc), np.sin(arc) * tall], axis=1) * r
    bx, by = e.towards(-0.2)
    e.shadow(x + bx, y + by, r * 0.75, 0.4)
    e.fill(e.upright(x, y, half + np.array([0.02, 0.08]), 0.04), shade(shell, 0.72))
    fillings = rng.sample(("#7fb04f", "#a5cf6a", "#c23b2a", "#7a4528", "#f2c84e", "#f4efe2", "#9a5a34"), 4)
    for _ in range(26):
        a, out = rng.uniform(0.25, math.pi - 0.25), r * rng.uniform(0.84, 1.04)
        spot = e.upright(x, y, np.array([[math.cos(a), math.sin(a) * 0.84]]) * out, 0.04)[0]
        size = np.array([rng.uniform(0.05, 0.11), rng.uniform(0.05, 0.09)]) * e.scale
        tint = tone(rng, *fillings)
        e.pen(tint).ellipse([*(spot - size), *(spot + size)], fill=tint)
    front = half * 0.93 + np.array([-0.03, -0.04])
    e.fill(e.upright(x, y, front, 0.04), shade(shell, 0.88))
    e.fill(e.upright(x, y, front * 0.94 + np.array([0.02 * e.light[0], 0.01]), 0.04), shell)
    for _ in range(7):
        a, out = rng.uniform(0.3, 2.8), r * rng.uniform(0.2, 0.75)
        spot = e.upright(x, y, np.array([[math.cos(a), math.sin(a) * 0.8]]) * out, 0.04)[0]
        half_px = rng.uniform(0.02, 0.05) * e.scale
        e.pen((0, 0, 0, 0)).ellipse([*(spot - half_px), *(spot + half_px)], fill=fade(shade(shell, 0.6), 0.5))


def _stack(e: Easel, z: float, r: float) -> float:
    """What lies between two halves of bread; its top is returned."""
    rng = e.rng
    parts = ["lettuce", "patty", "cheese", "tomato", "patty", "onion"][: rng.randint(3, 6)]
    if rng.random() < 0.3:
        rng.shuffle(parts)
    for part in parts:
        if part == "lettuce":
            green = tone(rng, "#7fb04f", "#9ccc65", "#5f9a3f")
            e.slab(e.rim(0, 0, r * 1.1, wobble=0.12), z, z + 0.06, shade(green, 1.1), shade(green, 0.85))
            z += 0.05
        elif part == "patty":
            meat = tone(rng, "#6b3a22", "#57301f", "#7d4a2c", "#c8873c")
            e.slab(e.rim(0, 0, r * 1.03, wobble=0.03), z, z + 0.17, shade(meat, 1.1), meat)
            z += 0.17
        elif part == "cheese":
            yellow = tone(rng, "#f5b731", "#f2cf5a", "#f7e3a0")
            e.slab(square(0, 0, r * 0.98, 1, rng.uniform(0, 1.5), 0.0), z - 0.03, z + 0.03, yellow, shade(yellow, 0.88))
            z += 0.03
        else:
            colour = tone(rng, "#d5412e") if part == "tomato" else tone(rng, "#f0e2ea", "#b77aa8")
            e.slab(e.rim(0, 0, r * 0.98), z, z + 0.06, colour, shade(colour, 0.86))
            z += 0.06
    return z


def burger(e: Easel) -> None:
    """A bun around a patty and its trimmings."""
    rng = e.rng
    plate(e, ("board", "round", "paper", "square"), 0.95)
    bun = tone(rng, "#c9823a", "#d99a4e", "#b56a2c", "#3d3330" if rng.random() < 0.1 else "#e0ac66")
    r = rng.uniform(0.56, 0.7)
    e.shadow(0, 0, r, 0.5)
    e.slab(e.rim(0, 0, r), 0.05, 0.2, shade(bun, 1.3), shade(bun, 1.02))
    z = _stack(e, 0.2, r)
    dome(e, 0, 0, r * 1.02, rng.uniform(0.36, 0.5), bun, z)
    if rng.random() < 0.7:
        crumbs(e, 16, r * 0.55, z + 0.38, ("#f7e8c4", "#f2dcae"), 0.045)
    gleam(e, 0, 0, r * 0.8, z + 0.3, 0.25)
    if rng.random() < 0.35:
        for x, y in e.scatter(8, 0.2, *e.across(rng.choice((-0.8, 0.8)))):
            rod(e, x, y, rng.uniform(0, 3), 0.4, 0.07, tone(rng, "#f0c75a", "#e8b545"), 0.05)


def bagel(e: Easel) -> None:
    """A ring of boiled and baked dough, seeded or plain, sometimes filled."""
    rng = e.rng
    plate(e, ("board", "round", "paper", "square"))
    count = rng.choice((1, 1, 1, 2, 3))
    r = 0.72 if count == 1 else 0.5
    for x, y in e.ring(count, 0.52):
        dough = tone(rng, "#c08a4a", "#b5742f", "#d6a665", "#8a5a30")
        e.shadow(x, y, r, 0.45)
        z = 0.05
        if rng.random() < 0.4:
            e.slab(e.rim(x, y, r), z, z + 0.16, shade(dough, 1.4), dough)
            for tint in rng.sample(("#fbf7ee", "#f0824a", "#7fb04f", "#f7f2e2"), rng.randint(1, 2)):
                e.slab(e.rim(x, y, r * 1.02, wobble=0.06), z + 0.16, z + 0.22, rgb(tint), shade(rgb(tint), 0.9))
                z += 0.06
            z += 0.14
        height = rng.uniform(0.2, 0.32)
        torus(e, x, y, r, rng.uniform(0.16, 0.32), height, dough, None, z)
        if rng.random() < 0.65:
            seeds = rng.choice((("#f4e6c6", "#efdcae"), ("#2c2a2a", "#3a3636"), ("#f4e6c6", "#2c2a2a", "#c9b083")))
            crumbs(e, 34, r * 0.9, z + height, seeds, 0.03, x, y, r * 0.36)
