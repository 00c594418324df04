"""Things built of the easel's primitives that several dishes share."""

from __future__ import annotations

import math

import numpy as np

from plait.data.sample.easel import Colour, Easel, fade, mix, rgb, shade, tone

GREENS = ("#4f8a3a", "#6fa84a", "#8cbf5a", "#3d6e35", "#a6cf72")
ICING = ("#f2a6bd", "#5a3422", "#fdf6ee", "#a9dcd2", "#f3d36a", "#c8a4e0", "#e2664e", "#c98a4a")
SPRINKLES = ("#e8475a", "#f7d24a", "#4fb0d8", "#7fc46a", "#ffffff", "#b06ad0")
SAUCES = ("#7a3a16", "#a5222e", "#c9822e", "#4a2412", "#5a1f4a")
BERRIES = {
    "blueberry": ("#3d4a8c", 0.075),
    "raspberry": ("#cc2f55", 0.09),
    "strawberry": ("#d8323a", 0.13),
    "cherry": ("#b3122e", 0.1),
    "blackberry": ("#3a2340", 0.085),
}


def dome(e: Easel, x: float, y: float, r: float, height: float, colour: Colour, z: float = 0.0) -> None:
    """Half a ball: bun, scoop, yolk. Rings of lighter colour climb towards the light."""
    steps = 6 if r > 0.2 else 3
    foot = e.rim(x, y, 1.0)
    low, high = shade(colour, 0.72), shade(colour, 1.18)
    lx, ly = e.light
    for i in range(steps):
        t = i / steps
        ring = e.project(np.array([[x, y]]) + (foot - np.array([[x, y]])) * r * math.sqrt(1 - t * t), z + height * t)
        ring += np.array([lx, min(ly, 0.3)]) * t * t * 0.22 * r * e.scale
        e.fill(ring, mix(low, high, math.sqrt((i + 0.4) / steps)))


def gleam(e: Easel, x: float, y: float, r: float, z: float, strength: float = 0.7) -> None:
    """A small highlight on the side of the light."""
    spot = e.project(np.array([[x, y]]), z)[0] + np.array(e.light) * r * 0.45 * e.scale
    box = np.array([r * 0.3, r * 0.2]) * e.scale
    e.pen((0, 0, 0, 0)).ellipse([*(spot - box), *(spot + box)], fill=fade((255, 255, 255), strength))


def torus(
    e: Easel,
    x: float,
    y: float,
    r: float,
    hole: float,
    height: float,
    colour: Colour,
    icing: Colour | None = None,
    z: float = 0.0,
) -> None:
    """A ring of dough around a hole of radius r * hole, iced on top where `icing` is given."""
    middle = (1 + hole) / 2
    wobble = e.rng.uniform(0.02, 0.07)
    for t in np.linspace(0, 1, 6).tolist():
        ring = r * (1 - (1 - middle) * (1 - math.cos(t * math.pi / 2)))
        e.disc(x, y, ring, mix(shade(colour, 0.62), colour, t), z + height * math.sin(t * math.pi / 2))
    if icing:
        e.disc(x, y, r * 0.93, shade(icing, 0.86), z + height * 0.78, wobble=wobble)
        e.disc(x, y, r * 0.88, icing, z + height * 0.92, wobble=wobble / 2)
    face = icing or colour
    e.disc(x, y, r * middle * 1.04, shade(face, 1.22), z + height)
    e.disc(x, y, r * middle * 0.94, face, z + height)
    e.disc(x, y, r * hole * 1.22, shade(face, 0.8), z + height * 0.9)
    if hole > 0.12:
        e.disc(x, y, r * hole, shade(colour, 0.55), z + height * 0.7)
        e.disc(x, y, r * hole * 0.82, shade(e.ground, 0.72), z + height * 0.25)


def rod(
    e: Easel, x: float, y: float, angle: float, length: float, width: float, colour: Colour, z: float = 0.0
) -> None:
    """A rounded roll lying on the table, lit along its upper edge."""
    dx, dy = math.cos(angle) * length / 2, math.sin(angle) * length / 2
    ends = np.array([[x - dx, y - dy], [x + dx, y + dy]])
    body = e.project(ends, z + width * 0.5)
    for grow, part, lift in ((0.62, 1.0, 0.0), (0.85, 0.86, 0.05), (1.0, 0.62, 0.1), (1.2, 0.22, 0.16)):
        shift = np.array([e.light[0] * 0.3, -1.0]) * lift * width * e.scale
        _capsule(e, body + shift, shade(colour, grow), width * part)


def _capsule(e: Easel, ends: np.ndarray, colour: Colour, width: float) -> None:
    e.stroke(ends, colour, width)
    half = width * e.scale / 2
    for px, py in ends.tolist():
        e.pen(colour).ellipse([px - half, py - half, px + half, py + half], fill=colour)


def wedge(x: float, y: float, r: float, start: float, sweep: float) -> np.ndarray:
    """(N, 2) places around a slice of a round cake with its tip at (x, y)."""
    angles = np.linspace(start, start + sweep, 7)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1) * r + np.array([x, y])
    return np.concatenate([[[x, y]], arc])


def leaf(e: Easel, x: float, y: float, r: float, colour: Colour, z: float = 0.0, angle: float | None = None) -> None:
    """A pointed leaf with its rib."""
    angle = e.rng.uniform(0, 6.3) if angle is None else angle
    along = np.array([-1.0, -0.4, 0.2, 0.6, 1.0, 0.6, 0.2, -0.4])
    off = np.array([0.0, 0.36, 0.44, 0.3, 0.0, -0.3, -0.44, -0.36]) * e.rng.uniform(0.7, 1.2)
    cos, sin = math.cos(angle), math.sin(angle)
    places = np.stack([along * cos - off * sin, along * sin + off * cos], axis=1) * r + np.array([x, y])
    outline = e.project(places, z)
    e.fill(outline, colour)
    e.stroke(outline[[0, 4]], shade(colour, 1.35), 0.014)


def berry(e: Easel, x: float, y: float, z: float, kind: str) -> None:
    """A berry of a kind in `BERRIES`."""
    colour, r = BERRIES[kind]
    r *= e.rng.uniform(0.85, 1.15)
    dome(e, x, y, r, r * 1.3, rgb(colour), z)
    if kind == "strawberry":
        leaf(e, x, y, r * 0.7, rgb("#4f9a3c"), z + r * 1.2)
    gleam(e, x, y, r, z + r, 0.55)


def berries(e: Easel, count: int, r: float, z: float, x: float = 0.0, y: float = 0.0) -> None:
    """Berries of two kinds within radius `r` of (x, y)."""
    kinds = e.rng.sample(sorted(BERRIES), 2)
    for px, py in e.scatter(count, r, x, y):
        berry(e, px, py, z, e.rng.choice(kinds))


def drizzle(e: Easel, r: float, colour: Colour, z: float, x: float = 0.0, y: float = 0.0, width: float = 0.05) -> None:
    """Sauce poured to and fro over a disc of radius `r`."""
    turns = e.rng.randint(4, 7)
    along = np.linspace(-1, 1, turns * 6)
    side = np.sin(along * turns * math.pi * 0.9 + e.rng.uniform(0, 6)) * np.sqrt(np.maximum(0, 1 - along**2))
    angle = e.rng.uniform(0, 6.3)
    cos, sin = math.cos(angle), math.sin(angle)
    path = np.stack([along * cos - side * sin, along * sin + side * cos], axis=1) * r + np.array([x, y])
    e.stroke(e.project(path, z), colour, width)


def crumbs(
    e: Easel,
    count: int,
    r: float,
    z: float,
    codes: tuple[str, ...],
    size: float = 0.03,
    x: float = 0.0,
    y: float = 0.0,
    inner: float = 0.0,
) -> None:
    """Seeds, sprinkles, herbs: dashes between the radii `inner` and `r`."""
    rng = e.rng
    for _ in range(count):
        angle, out = rng.uniform(0, 6.3), math.sqrt(rng.uniform(inner * inner, r * r))
        px, py = x + out * math.cos(angle), y + out * math.sin(angle)
        lean, half = rng.uniform(0, 6.3), size * 0.6
        dash = np.array([[px, py], [px, py]]) + np.array([[-1], [1]]) * half * np.array(
            [math.cos(lean), math.sin(lean)]
        )
        e.stroke(e.project(dash, z), rgb(rng.choice(codes)), size * 0.7)


def half_egg(e: Easel, x: float, y: float, r: float, z: float = 0.0) -> None:
    """Half a boiled egg, cut side up."""
    angle = e.rng.uniform(0, 6.3)
    e.disc(x, y, r * 1.06, rgb("#d9c8a8"), z, 0.78, angle)
    e.disc(x, y, r, rgb("#fbf6ea"), z + 0.02, 0.76, angle)
    e.disc(x, y, r * 0.52, tone(e.rng, "#f0a028", "#f4b83c"), z + 0.03)


def chopsticks(e: Easel, z: float = 0.05) -> None:
    """A pair of chopsticks laid across an edge."""
    angle = e.rng.uniform(0, 6.3)
    colour = tone(e.rng, "#5a2f1c", "#2c2522", "#a03028", "#b98a52")
    for gap in (0.0, 0.1):
        a, b = angle + gap * 0.5, angle + 1.7 + gap
        ends = np.array([[math.cos(a), math.sin(a)], [math.cos(b), math.sin(b)]]) * np.array([[1.25], [1.1]])
        e.stroke(e.project(ends, z), colour, 0.045)


def scoop(e: Easel, x: float, y: float, r: float, z: float, colour: Colour) -> None:
    """A ball of ice cream with a ragged foot."""
    e.disc(x, y, r * 1.08, shade(colour, 0.8), z, wobble=0.12)
    dome(e, x, y, r, r * 1.25, colour, z)
    gleam(e, x, y, r, z + r * 0.8, 0.35)
