"""Savoury dishes for the fork. Each function draws one dish, plate included, on an easel that already has its table."""

from __future__ import annotations

import math

import numpy as np

from plait.data.sample.easel import Easel, fade, mix, rgb, shade, tone
from plait.data.sample.scene import bowl, plate, square
from plait.data.sample.shapes import (
    GREENS,
    chopsticks,
    crumbs,
    dome,
    drizzle,
    gleam,
    half_egg,
    leaf,
    wedge,
)


def pizza(e: Easel) -> None:
    """Whole and round, a slice taken or not; sometimes a single slice."""
    rng = e.rng
    plate(e, ("board", "round", "paper", "board"))
    crust = tone(rng, "#d9a25a", "#c98a45", "#e0b878")
    cheese = tone(rng, "#f4cf6a", "#f2d98c", "#eeb94e", "#f3e3b8")
    if rng.random() < 0.15:
        start = rng.uniform(0, 6.3)
        tip = (-0.75 * math.cos(start + 0.4), -0.75 * math.sin(start + 0.4))
        e.slab(wedge(*tip, 1.5, start, 0.8), 0.05, 0.12, crust, shade(crust, 0.7))
        e.fill(e.project(wedge(*tip, 1.3, start + 0.03, 0.74), 0.12), cheese)
        _toppings(e, 0.3, 7)
        return
    e.slab(e.rim(0, 0, 0.9, wobble=0.03), 0.05, 0.16, crust, shade(crust, 0.66))
    e.disc(0, 0, 0.82, shade(crust, 1.15), 0.17, wobble=0.03)
    e.disc(0, 0, 0.76, tone(rng, "#c23b22", "#b5301f", "#d9662f", "#efe0b8"), 0.15, wobble=0.05)
    e.disc(0, 0, 0.72, cheese, 0.15, wobble=0.1)
    for x, y in e.scatter(5, 0.55):
        e.disc(x, y, rng.uniform(0.08, 0.16), shade(cheese, rng.choice((0.88, 1.25))), 0.15, wobble=0.2)
    _toppings(e, 0.62, rng.randint(8, 16))
    start = rng.uniform(0, 6.3)
    if rng.random() < 0.6:
        for i in range(4):
            a = start + i * math.pi / 4
            ends = np.array([[math.cos(a), math.sin(a)], [-math.cos(a), -math.sin(a)]]) * 0.88
            e.stroke(e.project(ends, 0.15), fade((90, 40, 10), 0.6), 0.02)
    if rng.random() < 0.25:
        e.fill(e.project(wedge(0, 0, 0.96, start, math.pi / 4), 0.12), shade(e.ground, 0.82))


def _toppings(e: Easel, r: float, count: int) -> None:
    rng, z = e.rng, 0.16
    kinds = rng.sample(("sausage", "olive", "basil", "mushroom", "pepper", "tomato", "herbs"), rng.randint(1, 3))
    for x, y in e.scatter(count, r):
        kind = rng.choice(kinds)
        if kind == "sausage":
            e.disc(x, y, 0.115, rgb("#8e2016"), z)
            e.disc(x, y, 0.1, tone(rng, "#c0392b", "#b33a2a"), z)
        elif kind == "olive":
            e.disc(x, y, 0.055, rgb("#2b2a33"), z)
            e.disc(x, y, 0.024, rgb("#d8a94e"), z)
        elif kind == "basil":
            leaf(e, x, y, 0.13, tone(rng, "#3f8a3a", "#2f6f32"), z)
        elif kind == "mushroom":
            e.disc(x, y, 0.08, rgb("#d8c4a4"), z, 0.7, rng.uniform(0, 3))
            e.disc(x, y, 0.045, rgb("#9a7f60"), z, 0.5)
        elif kind == "tomato":
            e.disc(x, y, 0.1, rgb("#d5412e"), z)
            e.disc(x, y, 0.06, rgb("#ec8a5e"), z)
        else:
            crumbs(e, 4, 0.09, z, ("#4f8a3a", "#c8382c", "#6fa84a"), 0.06, x, y)


def ramen(e: Easel) -> None:
    """A deep bowl of broth: noodles, half an egg, seaweed, meat, spring onion."""
    rng = e.rng
    broth = tone(rng, "#c98a3c", "#e3c089", "#b5562a", "#8a5226", "#d9a860")
    z = bowl(e, 0.98, rng.uniform(0.45, 0.65), broth)
    noodle = tone(rng, "#f0d488", "#e8c66c", "#f3e2b0")
    for _ in range(rng.randint(9, 16)):
        x, y = rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35)
        turns = np.linspace(0, rng.uniform(1.6, 3.4), 9) + rng.uniform(0, 6.3)
        curl = np.stack([np.cos(turns), np.sin(turns)], axis=1) * rng.uniform(0.15, 0.42) + np.array([x, y])
        e.stroke(e.project(curl, z), shade(noodle, rng.uniform(0.8, 1.2)), 0.035)
    if rng.random() < 0.6:
        sheet = np.array([[-0.2, -0.1], [0.2, -0.1], [0.24, 0.26], [-0.16, 0.28]])
        back = e.towards(-0.6)
        e.fill(e.upright(*back, sheet, z), tone(rng, "#1f2f26", "#24261f", spread=5))
    parts = [_meat, half_egg_on, _greens_on, _swirl, _greens_on, half_egg_on]
    spots = e.ring(rng.randint(3, 5), 0.5)
    for (x, y), part in zip(spots, rng.sample(parts, len(spots)), strict=True):
        part(e, x, y, z)
    crumbs(e, rng.randint(8, 22), 0.6, z + 0.02, ("#6fa84a", "#9ccc65", "#3f7a3a"), 0.05)
    if rng.random() < 0.5:
        chopsticks(e, z + 0.06)


def half_egg_on(e: Easel, x: float, y: float, z: float) -> None:
    half_egg(e, x, y, 0.24, z)


def _meat(e: Easel, x: float, y: float, z: float) -> None:
    colour = tone(e.rng, "#a5633f", "#c08a6a", "#8d4a30")
    e.disc(x, y, 0.28, shade(colour, 0.8), z, 0.85, wobble=0.08)
    e.disc(x, y, 0.25, colour, z + 0.02, 0.85, wobble=0.1)
    e.disc(x, y, 0.12, shade(colour, 1.35), z + 0.02, 0.5, e.rng.uniform(0, 3), wobble=0.2)


def _greens_on(e: Easel, x: float, y: float, z: float) -> None:
    for px, py in e.scatter(5, 0.14, x, y):
        leaf(e, px, py, 0.16, tone(e.rng, *GREENS), z)


def _swirl(e: Easel, x: float, y: float, z: float) -> None:
    e.disc(x, y, 0.17, rgb("#fbf3ee"), z, wobble=0.1)
    turns = np.linspace(0, 9, 16)
    path = np.stack([np.cos(turns), np.sin(turns)], axis=1) * turns[:, None] * 0.013 + np.array([x, y])
    e.stroke(e.project(path, z), rgb("#e0709a"), 0.03)


def salad(e: Easel) -> None:
    """A bowl or plate of leaves and raw things."""
    rng = e.rng
    z = bowl(e, 0.98, rng.uniform(0.3, 0.5), rgb("#4c7a38")) if rng.random() < 0.7 else 0.05
    if z == 0.05:
        plate(e, ("round", "square"))
    for i, (x, y) in enumerate(e.scatter(24, 0.68)):
        leaf(e, x, y, rng.uniform(0.18, 0.32), tone(rng, *GREENS), z + 0.006 * i)
    z += 0.12
    kinds = rng.sample(("tomato", "cucumber", "onion", "feta", "olive", "egg", "crouton", "meat"), rng.randint(2, 4))
    for x, y in e.scatter(rng.randint(7, 13), 0.6):
        _raw(e, rng.choice(kinds), x, y, z)
    if rng.random() < 0.2:
        drizzle(e, 0.6, fade(rgb("#fff6dc"), 0.8), z + 0.03)


def _raw(e: Easel, kind: str, x: float, y: float, z: float) -> None:
    rng = e.rng
    if kind == "tomato":
        dome(e, x, y, 0.12, 0.12, tone(rng, "#d8362a", "#e2552f"), z)
        gleam(e, x, y, 0.12, z + 0.1, 0.6)
    elif kind == "cucumber":
        e.disc(x, y, 0.15, rgb("#2f6b34"), z)
        e.disc(x, y, 0.125, rgb("#cfe6a8"), z + 0.01)
        e.disc(x, y, 0.06, rgb("#b2d488"), z + 0.01)
    elif kind == "onion":
        ring = e.project(e.rim(x, y, 0.13), z)
        e.stroke(np.concatenate([ring, ring[:1]]), tone(rng, "#a0548c", "#e8dcea"), 0.03)
    elif kind == "egg":
        half_egg(e, x, y, 0.19, z)
    elif kind == "olive":
        dome(e, x, y, 0.07, 0.08, tone(rng, "#33263a", "#6d7a35"), z)
    elif kind == "meat":
        e.disc(x, y, 0.16, tone(rng, "#c98a5a", "#e8b38a", "#f2a98c"), z, 0.5, rng.uniform(0, 3), wobble=0.1)
    else:
        colour = rgb("#f7f4ea") if kind == "feta" else tone(rng, "#c98f4a")
        e.prism(square(x, y, 0.08, 1, rng.uniform(0, 1.5), 0.05), [(z + 0.1, shade(colour, 0.8))], colour, z)


def fried_eggs(e: Easel) -> None:
    """Eggs in a pan or on a plate, with toast or bacon now and then."""
    rng = e.rng
    z = 0.05
    if rng.random() < 0.45:
        metal = tone(rng, "#2e2e32", "#45464a", "#6b3a30", "#3a4a58")
        a = rng.uniform(0, 6.3)
        e.shadow(0, 0, 0.95, 0.5)
        ends = np.array([[math.cos(a), math.sin(a)]]) * np.array([[0.9], [1.7]])
        e.stroke(e.project(ends, 0.12), shade(metal, 0.7), 0.14)
        e.slab(e.rim(0, 0, 0.95), 0, 0.14, shade(metal, 1.3), shade(metal, 0.7))
        e.disc(0, 0, 0.86, metal, 0.1)
    else:
        plate(e)
        if rng.random() < 0.4:
            toast = tone(rng, "#d9a862", "#c48a48")
            e.slab(square(0, 0, 0.66, 0.9, rng.uniform(0, 3), 0.2), z, z + 0.12, shade(toast, 1.25), shade(toast, 0.75))
            z += 0.12
    for x, y in e.scatter(rng.choice((0, 0, 2, 3)), 0.7):
        e.fill(e.project(square(x, y, 0.42, 0.2, rng.uniform(0, 3), 0.3), z), tone(rng, "#a5402f", "#c46a55"))
    count = rng.choice((1, 1, 2, 2, 3))
    r = {1: 0.58, 2: 0.44, 3: 0.38}[count]
    for x, y in e.ring(count, 0.4):
        white = tone(rng, "#fdfaf2", "#f6f0e2", spread=3)
        e.disc(x, y, r * 1.05, mix(white, rgb("#b9843e"), rng.uniform(0.2, 0.8)), z, wobble=0.12)
        e.disc(x, y, r, white, z + 0.02, wobble=0.12)
        yolk = tone(rng, "#f7b51f", "#f29c1a", "#fbcf45")
        dome(e, x + rng.uniform(-0.08, 0.08), y, r * rng.uniform(0.36, 0.48), 0.13, yolk, z + 0.03)
        gleam(e, x, y, r * 0.42, z + 0.16, 0.8)
    crumbs(e, rng.choice((0, 8, 20)), 0.7, z + 0.08, ("#3a3330", "#4f8a3a", "#6b4a3a"), 0.025)
