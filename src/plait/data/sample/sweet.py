"""Sweet dishes of batter and dough.

Each function draws one dish, plate included, on an easel that already has its table.
"""

from __future__ import annotations

import math

import numpy as np

from plait.data.sample.easel import Colour, Easel, fade, mix, rgb, shade, tone
from plait.data.sample.scene import plate, square
from plait.data.sample.shapes import (
    BERRIES,
    ICING,
    SPRINKLES,
    berries,
    berry,
    crumbs,
    dome,
    drizzle,
    scoop,
    torus,
)


def _breakfast_top(e: Easel, r: float, z: float) -> None:
    """What pancakes and waffles share: butter, syrup, berries, cream, sugar."""
    rng = e.rng
    if rng.random() < 0.65:
        syrup = fade(tone(rng, "#8a4a14", "#a5621e", "#5a2a12", "#a5222e"), rng.uniform(0.65, 0.95))
        e.disc(0, 0, r * rng.uniform(0.45, 0.75), syrup, z, wobble=0.25)
        for x, y in e.ring(rng.randint(2, 4), r * 0.98):
            foot = e.project(np.array([[x, y], [x, y]]), z)
            foot[1, 1] += rng.uniform(0.1, 0.3) * e.scale * e.rise
            e.stroke(foot, syrup, 0.09)
    if rng.random() < 0.25:
        crumbs(e, 40, r * 0.95, z + 0.01, ("#ffffff", "#f6f0ea"), 0.035)
    choice = rng.choice(("butter", "berries", "berries", "cream", "none", "banana"))
    if choice == "butter":
        e.prism(square(0, 0, 0.15, 1, rng.uniform(0, 1.5), 0.05), [(z + 0.12, rgb("#efcf5a"))], rgb("#fbe99a"), z)
    elif choice == "berries":
        berries(e, rng.randint(4, 10), r * 0.55, z)
    elif choice == "cream":
        scoop(e, 0, 0, 0.24, z, tone(rng, "#fdfaf4", "#f7efe0", spread=4))
        berries(e, rng.randint(0, 3), 0.1, z + 0.25)
    elif choice == "banana":
        for x, y in e.scatter(5, r * 0.55):
            e.slab(e.rim(x, y, 0.15), z, z + 0.05, rgb("#f7e9b4"), rgb("#dcc67e"))


def pancakes(e: Easel) -> None:
    """A stack of flat round cakes; now and then a folded or single thin one."""
    rng = e.rng
    plate(e, ("round", "round", "square", "board"))
    brown = tone(rng, "#c07a34", "#b0682a", "#d3964c", "#a05a26")
    count, r = rng.choice((1, 2, 3, 4, 5, 6)), rng.uniform(0.58, 0.76)
    e.shadow(0, 0, r, 0.45)
    thick, z = rng.uniform(0.09, 0.15), 0.05
    for _ in range(count):
        x, y = rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05)
        edge = mix(brown, rgb("#f6dfa8"), rng.uniform(0.55, 0.8))
        e.slab(e.rim(x, y, r, wobble=0.025), z, z + thick, edge, shade(edge, 0.88))
        e.disc(x, y, r * 0.97, brown, z + thick, wobble=0.02)
        z += thick
    e.disc(0, 0, r * 0.86, shade(brown, 1.12), z, wobble=0.05)
    for x, y in e.scatter(4, r * 0.7):
        e.disc(x, y, rng.uniform(0.08, 0.2), fade(shade(brown, 0.85), 0.5), z, wobble=0.2)
    _breakfast_top(e, r, z)


def waffles(e: Easel) -> None:
    """Round or square, the grid pressed in; one or two of them."""
    rng = e.rng
    plate(e, ("round", "round", "square", "board"))
    brown = tone(rng, "#d39a48", "#c5853a", "#e0b468", "#b8742f")
    round_, r, angle = rng.random() < 0.55, rng.uniform(0.6, 0.78), rng.uniform(0, 1.5)
    e.shadow(0, 0, r, 0.45)
    z = 0.05
    for _ in range(rng.choice((1, 1, 2, 3))):
        x, y, angle = rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06), angle + rng.uniform(-0.25, 0.25)
        outline = e.rim(x, y, r, wobble=0.02) if round_ else square(x, y, r * 0.9, rng.uniform(0.75, 1), angle, 0.1)
        e.slab(outline, z, z + 0.14, shade(brown, 1.1), shade(brown, 0.78))
        z += 0.14
    _grid(e, r, angle, z, brown, round_)
    _breakfast_top(e, r * 0.9, z)


def _grid(e: Easel, r: float, angle: float, z: float, brown: Colour, round_: bool) -> None:
    cells = e.rng.randint(4, 6)
    step = 2 * r * 0.86 / cells
    cos, sin = math.cos(angle), math.sin(angle)
    for i in range(cells):
        for j in range(cells):
            u, v = (i - (cells - 1) / 2) * step, (j - (cells - 1) / 2) * step
            if math.hypot(u, v) > r * (0.84 if round_ else 9):
                continue
            v *= 1 if round_ else 0.88
            pit = square(u * cos - v * sin, u * sin + v * cos, step * 0.36, 1, angle, 0.1)
            e.fill(e.project(pit, z), shade(brown, 0.7))
            e.fill(e.project(pit, z - 0.035), shade(brown, 0.86))


def donuts(e: Easel) -> None:
    """Iced and sprinkled rings, or plain sugared ones."""
    rng = e.rng
    plate(e, ("round", "board", "paper", "square"))
    count = rng.choice((1, 1, 1, 2, 3, 4))
    r = {1: 0.72, 2: 0.5, 3: 0.46, 4: 0.42}[count]
    for x, y in e.ring(count, 0.54):
        dough = tone(rng, "#cf9550", "#b87a3a", "#dbac6a", "#6b4028")
        icing = tone(rng, *ICING) if rng.random() < 0.7 else None
        height = rng.uniform(0.2, 0.3)
        e.shadow(x, y, r, 0.45)
        torus(e, x, y, r, rng.uniform(0.26, 0.4), height, dough, icing, 0.05)
        topping = rng.choice(("sprinkles", "sprinkles", "drizzle", "none", "sugar"))
        if icing and topping == "sprinkles":
            crumbs(
                e, 26, r * 0.84, height + 0.05, rng.choice((SPRINKLES, ("#3a2015", "#5a3422"))), 0.05, x, y, r * 0.44
            )
        elif icing and topping == "drizzle":
            drizzle(e, r * 0.8, tone(rng, *ICING), height + 0.05, x, y, 0.035)
        elif topping == "sugar" or not icing:
            crumbs(e, 40, r * 0.9, height + 0.05, ("#ffffff", "#f4ead8"), 0.026, x, y, r * 0.4)


def cupcakes(e: Easel) -> None:
    """Paper cups under a swirl of frosting."""
    rng = e.rng
    plate(e, ("round", "board", "paper", "square"))
    count = rng.choice((1, 1, 2, 3))
    r = {1: 0.46, 2: 0.36, 3: 0.32}[count]
    spread = {1: 0.0, 2: 0.45, 3: 0.5}[count]
    frosting, paper = tone(rng, *ICING), tone(rng, "#f4f0ea", "#5a3422", "#e8475a", "#4fb0d8", "#f7d24a", "#f2a6bd")
    top = rng.choice(("cherry", "sprinkles", "none", "berry", "plain"))
    for x, y in e.ring(count, spread):
        e.shadow(x, y, r * 0.9, 0.5)
        _paper_cup(e, x, y, r, paper)
        z = 0.05 + r * 1.05
        if top == "plain":
            dome(e, x, y, r * 1.1, r * 0.75, tone(rng, "#c48a48", "#6b3f24", "#dba860"), z)
            crumbs(e, 8, r * 0.7, z + r * 0.6, ("#3a2015", "#3d4a8c"), 0.06, x, y)
            continue
        z = _frost(e, x, y, r * 1.12, z, frosting)
        if top in ("cherry", "berry"):
            berry(e, x, y, z - 0.04, "cherry" if top == "cherry" else rng.choice(sorted(BERRIES)))
        elif top == "sprinkles":
            crumbs(e, 16, r * 0.8, z - 0.18, SPRINKLES, 0.05, x, y)


def _paper_cup(e: Easel, x: float, y: float, r: float, paper: Colour) -> None:
    low, high = e.project(e.rim(x, y, r * 0.74), 0.05), e.project(e.rim(x, y, r), 0.05 + r * 1.05)
    e.fill(low, shade(paper, 0.8))
    pick = [int(a.argmin()) for a in (low[:, 0], high[:, 0])] + [int(a.argmax()) for a in (high[:, 0], low[:, 0])]
    corners = np.array([low[pick[0]], high[pick[1]], high[pick[2]], low[pick[3]]])
    e.fill(corners, shade(paper, 0.9))
    for i in range(1, 8):
        t = i / 8
        foot, head = corners[0] + (corners[3] - corners[0]) * t, corners[1] + (corners[2] - corners[1]) * t
        drop = np.array([0.0, math.sin(t * math.pi) * e.tilt * r * 0.7 * e.scale])
        e.stroke(np.array([foot + drop, head + drop]), shade(paper, 0.7 if i % 2 else 1.2), 0.03)
    e.fill(high, shade(paper, 0.75))


def _frost(e: Easel, x: float, y: float, r: float, z: float, colour: Colour) -> float:
    """Rising rings of piped frosting; the height of the tip is returned."""
    steps = e.rng.randint(3, 5)
    for i in range(steps):
        t = i / steps
        ring = r * (1 - t * 0.85)
        for lift, grow, tint in ((0.0, 1.0, 0.78), (0.06, 0.97, 1.0), (0.11, 0.8, 1.2)):
            e.disc(x, y, ring * grow, shade(colour, tint), z + lift * r * 2, wobble=0.05)
        z += 0.26 * r
    dome(e, x, y, r * 0.2, r * 0.3, shade(colour, 1.1), z)
    return z + 0.05
