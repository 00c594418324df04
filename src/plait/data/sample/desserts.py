"""Desserts. Each function draws one dish, plate included, on an easel that already has its table."""

from __future__ import annotations

import math

import numpy as np

from plait.data.sample.easel import Colour, Easel, Points, fade, mix, rgb, shade, tone
from plait.data.sample.scene import bowl, plate
from plait.data.sample.shapes import (
    SAUCES,
    SPRINKLES,
    berries,
    berry,
    crumbs,
    drizzle,
    gleam,
    leaf,
    scoop,
    wedge,
)


def ice_cream(e: Easel) -> None:
    """Scoops in a cone or a cup, soft serve too."""
    rng = e.rng
    flavours = [
        tone(rng, "#f6e7c1", "#7a4a2c", "#f2a0b4", "#a9dcb8", "#f3c95a", "#c9b2e0", "#fbf6ec", "#e8746a")
        for _ in range(3)
    ]
    if rng.random() < 0.5:
        _cone(e, flavours)
        return
    if rng.random() < 0.3:
        plate(e, ("round", "square", "board"))
        z, r = 0.06, 0.36
    else:
        z, r = bowl(e, rng.uniform(0.66, 0.8), rng.uniform(0.35, 0.6), shade(flavours[0], 0.85)) - 0.12, 0.36
    count = rng.randint(1, 3)
    for (x, y), flavour in zip(e.ring(count, 0.28), flavours, strict=False):
        scoop(e, x, y, r, z, flavour)
    _sundae(e, z + r * 1.2, 0.3)
    if rng.random() < 0.3:
        foot = e.upright(*e.across(0.2), np.array([[0.0, 0.0], [0.28, 0.6]]), z + 0.3)
        e.stroke(foot, tone(rng, "#d9a85a", "#b8803c"), 0.1)


def _sundae(e: Easel, z: float, r: float) -> None:
    rng = e.rng
    extra = rng.choice(("sauce", "sprinkles", "berry", "none", "none"))
    if extra == "sauce":
        e.disc(0, 0, r, tone(rng, *SAUCES), z, wobble=0.3)
    elif extra == "sprinkles":
        crumbs(e, 22, r * 1.2, z, SPRINKLES, 0.05)
    elif extra == "berry":
        berry(e, 0, 0, z, rng.choice(("cherry", "strawberry")))


def _cone(e: Easel, flavours: list[Colour]) -> None:
    """A cone facing the viewer, leaning a little: soft serve, or one or two scoops."""
    rng = e.rng
    lean, wide = rng.uniform(-0.3, 0.3), rng.uniform(0.34, 0.44)
    middle = np.array(e.centre)
    axes = np.array([[math.cos(lean), math.sin(lean)], [math.sin(lean), -math.cos(lean)]]) * e.scale

    def on(places: Points) -> Points:
        return np.asarray(middle + places @ axes)

    _wafer(e, on(np.array([[0.0, -1.0], [-wide, 0.1], [wide, 0.1]])))
    soft = rng.random() < 0.35
    if soft:
        balls = [(0.2 + 0.26 * i, wide * (1.12 - 0.3 * i)) for i in range(4)]
    else:
        balls = [(0.22 + 0.42 * i, wide * 1.05) for i in range(rng.randint(1, 2))]
    for i, (y, r) in enumerate(balls):
        flavour = flavours[0] if soft else flavours[i]
        for grow, shift, tint in ((1.06, 0.0, 0.76), (0.98, 0.03, 1.0), (0.62, 0.14, 1.18)):
            places = e.rim(0, y, r * grow, 0.62 if soft else 1.0, wobble=0.04)
            e.fill(on(places) + np.array(e.light) * shift * e.scale, shade(flavour, tint))
        if not soft and rng.random() < 0.4:
            for _ in range(9):
                spot = on(np.array([[rng.uniform(-0.7, 0.7) * r, y + rng.uniform(-0.6, 0.7) * r]]))[0]
                dash = np.array([rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04)]) * e.scale
                e.stroke(np.stack([spot - dash, spot + dash]), rgb(rng.choice(SPRINKLES)), 0.04)


def _wafer(e: Easel, corners: Points) -> None:
    """The wafer between three corners in pixels, the tip first, with its lozenges."""
    wafer = tone(e.rng, "#d9a55a", "#c98f45", "#e6bd7c")
    e.fill(corners + 0.05 * e.scale, fade((20, 10, 5), 0.25))
    e.fill(corners, wafer)
    tip, left, right = corners
    for low in np.arange(0.1, 1.0, 0.17):
        high = min(1.0, low + 0.3)
        for a, b in ((left, right), (right, left)):
            e.stroke(np.stack([tip + low * (a - tip), tip + high * (b - tip)]), shade(wafer, 0.75), 0.022)


def apple_pie(e: Easel) -> None:
    """A pie with a lattice or slits, whole or a slice of it."""
    rng = e.rng
    crust = tone(rng, "#d9a352", "#c98c3e", "#e0b670", "#b87a34")
    apple = tone(rng, "#d99a3a", "#c07a2c", "#e2b85c", "#b5622a")
    plate(e, ("round", "board", "square"))
    if rng.random() < 0.3:
        x, y = _slice(e, [(0.1, shade(crust, 0.85)), (0.32, apple), (0.42, crust)], shade(crust, 1.08))
        crumbs(e, 12, 0.4, 0.42, ("#a5622a", "#fff4dc", "#b87a34"), 0.05, x, y)
        away = math.atan2(y, x)
        for i in range(-3, 4):
            a = away + i * 0.16
            e.disc(
                x * 0.2 + 0.66 * math.cos(a),
                y * 0.2 + 0.66 * math.sin(a),
                0.11,
                shade(crust, rng.uniform(0.88, 1.15)),
                0.45,
            )
        if rng.random() < 0.5:
            scoop(e, *e.across(0.55), 0.22, 0.05, rgb("#f9f1de"))
        return
    tin = tone(rng, "#b9bcc2", "#f2ede4", "#b06a4a")
    e.slab(e.rim(0, 0, 0.9), 0.03, 0.2, tin, shade(tin, 0.75))
    e.disc(0, 0, 0.86, apple, 0.22)
    if rng.random() < 0.65:
        _lattice(e, 0.84, crust)
    else:
        e.disc(0, 0, 0.85, crust, 0.24)
        e.disc(0, 0, 0.6, shade(crust, 1.14), 0.26, wobble=0.08)
        for i in range(rng.randint(3, 6)):
            a = i * 1.1
            ends = np.array([[math.cos(a), math.sin(a)]]) * np.array([[0.15], [0.42]])
            e.stroke(e.project(ends, 0.26), shade(apple, 0.7), 0.045)
    for x, y in e.ring(26, 0.86):
        e.disc(x, y, 0.09, shade(crust, rng.uniform(0.85, 1.15)), 0.26)
    if rng.random() < 0.25:
        e.fill(e.project(wedge(0, 0, 0.98, rng.uniform(0, 6.3), 0.7), 0.18), mix(tin, apple, 0.5))
    if rng.random() < 0.2:
        leaf(e, 0, 0, 0.2, shade(crust, 0.8), 0.28)


def _lattice(e: Easel, r: float, crust: Colour) -> None:
    angle, strips = e.rng.uniform(0, 1.5), e.rng.randint(3, 5)
    for turn in (0.0, math.pi / 2):
        cos, sin = math.cos(angle + turn), math.sin(angle + turn)
        for i in range(strips):
            off = (i - (strips - 1) / 2) * 2 * r / (strips + 0.3)
            reach = math.sqrt(max(0.0, r * r - off * off))
            ends = np.array([[-reach, off], [reach, off]]) @ np.array([[cos, sin], [-sin, cos]])
            e.stroke(e.project(ends, 0.24), shade(crust, 0.75), 0.16)
            e.stroke(e.project(ends, 0.255), shade(crust, 1.08), 0.12)


def _slice(e: Easel, layers: list[tuple[float, Colour]], top: Colour) -> tuple[float, float]:
    """A slice whose tip points about towards the viewer; the middle of its top is returned."""
    rng = e.rng
    aim = math.atan2(*reversed(e.towards(1.0))) + rng.uniform(-0.9, 0.9)
    tip = (0.75 * math.cos(aim), 0.75 * math.sin(aim))
    places = wedge(*tip, 1.4, aim + math.pi - 0.35, 0.7)
    e.fill(e.project(places * 1.06 - 0.04 * np.array([e.light[0], 0]), 0.05), fade((20, 10, 5), 0.35))
    e.prism(places, layers, top)
    return tip[0] * -0.25, tip[1] * -0.25


def cheesecake(e: Easel) -> None:
    """A slice, sometimes the whole cake: pale filling on a crumb base."""
    rng = e.rng
    plate(e, ("round", "square", "board", "round"))
    crumb = tone(rng, "#9a6436", "#7a4a28", "#b98448")
    cream = tone(rng, "#f8efd2", "#f5e6bd", "#fbf6e8", "#f3d9c8" if rng.random() < 0.3 else "#f0deb0")
    top = tone(rng, *SAUCES) if rng.random() < 0.45 else mix(cream, rgb("#c98a3c"), rng.uniform(0, 0.45))
    if rng.random() < 0.72:
        x, y = _slice(e, [(0.1, crumb), (0.44, cream), (0.5, mix(top, cream, 0.2))], top)
        z = 0.5
    else:
        x = y = 0.0
        z = 0.44
        e.slab(e.rim(0, 0, 0.78), 0.05, 0.13, crumb, shade(crumb, 0.8))
        e.slab(e.rim(0, 0, 0.77), 0.13, z, cream, shade(cream, 0.86))
        e.disc(0, 0, 0.72, top, z, wobble=0.02)
    extra = rng.choice(("berries", "berries", "drizzle", "none", "cream"))
    if extra == "berries":
        berries(e, rng.randint(1, 6), 0.22, z, x, y)
    elif extra == "drizzle":
        drizzle(e, 0.34, tone(rng, *SAUCES), z, x, y, 0.04)
    elif extra == "cream":
        scoop(e, x, y, 0.15, z, rgb("#fdfaf2"))
        gleam(e, x, y, 0.15, z + 0.15)
