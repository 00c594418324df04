"""What surrounds the food: table, plate, light and lens."""

from __future__ import annotations

import io
import math
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from plait.data.sample.easel import Colour, Easel, Points, fade, mix, rgb, shade, tone

CROCKERY = (
    "#f6f3ee",
    "#fdfdfd",
    "#e8e2d6",
    "#c9d7de",
    "#3c4450",
    "#7d95a8",
    "#d9b9a6",
    "#9fb59a",
    "#e6c65a",
    "#2b2b2e",
)


def table(e: Easel) -> None:
    """Cover the canvas with wood, cloth, marble, tiles or plain paint."""
    e.rng.choice((_wood, _wood, _cloth, _marble, _tiles, _plain))(e)


def _plain(e: Easel) -> Colour:
    colour = tone(
        e.rng, "#d8cfc2", "#b7c4c9", "#e9dcc9", "#5d6670", "#c98f7a", "#8fa58b", "#f0ead8", "#394048", "#d9a7a7"
    )
    e.image.paste(colour, (0, 0, e.pixels, e.pixels))
    return colour


def _wood(e: Easel) -> None:
    rng = e.rng
    base = tone(rng, "#a9794b", "#8a5a36", "#c9a37a", "#6a452c", "#d6bd9a", "#857262")
    planks, upright = rng.randint(3, 6), rng.random() < 0.5
    start = rng.uniform(-0.5, 0.0)
    wide = e.pixels / (planks - 1)
    for i in range(planks + 1):
        low = (i + start) * wide
        _strip(e, low, low + wide, shade(base, rng.uniform(0.86, 1.12)), upright)
        for _ in range(4):
            at = low + rng.random() * wide
            _strip(e, at, at + e.pixels / rng.uniform(60, 160), shade(base, rng.uniform(0.78, 0.95)), upright)
        _strip(e, low, low + e.pixels / 90, shade(base, 0.55), upright)


def _strip(e: Easel, low: float, high: float, colour: Colour, upright: bool) -> None:
    end = float(e.pixels)
    box = [low, 0.0, high, end] if upright else [0.0, low, end, high]
    e.pen(colour).rectangle(box, fill=colour)


def _cloth(e: Easel) -> None:
    rng = e.rng
    base = _plain(e)
    thread = tone(rng, "#c8443c", "#3f6ea8", "#5f8f5a", "#f4f0e6", "#d9a441", "#484848")
    step = e.pixels / rng.randint(4, 9)
    wide, checked = step * rng.uniform(0.2, 0.5), rng.random() < 0.6
    start = rng.uniform(0, step)
    for i in range(-1, 10):
        at = start + i * step
        _strip(e, at, at + wide, fade(mix(base, thread, 0.8), 0.6), True)
        if checked:
            _strip(e, at, at + wide, fade(thread, 0.5), False)


def _marble(e: Easel) -> None:
    rng = e.rng
    base = tone(rng, "#eceae6", "#dcdad8", "#3b3d42", "#e8e0d6")
    e.image.paste(base, (0, 0, e.pixels, e.pixels))
    vein = mix(base, rgb("#8a8a90"), 0.7)
    for _ in range(rng.randint(3, 6)):
        x, y, angle = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0, 6.3)
        path = []
        for _ in range(7):
            path.append((x * e.pixels, y * e.pixels))
            angle += rng.uniform(-0.7, 0.7)
            x, y = x + 0.16 * math.cos(angle), y + 0.16 * math.sin(angle)
        e.stroke(np.array(path), fade(vein, 0.6), rng.uniform(0.01, 0.04))


def _tiles(e: Easel) -> None:
    rng = e.rng
    base = _plain(e)
    step = e.pixels / rng.uniform(2.5, 5)
    start = rng.uniform(0, step)
    for i in range(-1, 6):
        for upright in (True, False):
            at = start + i * step
            _strip(e, at, at + e.pixels / 70, shade(base, 0.75), upright)


def square(x: float, y: float, half: float, ratio: float = 1.0, angle: float = 0.0, cut: float = 0.18) -> Points:
    """(8, 2) places around a rectangle of half-width `half` and half-height half * ratio, its corners cut."""
    c = 1 - cut
    places = np.array([[1, c], [c, 1], [-c, 1], [-1, c], [-1, -c], [-c, -1], [c, -1], [1, -c]]) * half
    places *= np.array([1.0, ratio])
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(places @ np.array([[cos, sin], [-sin, cos]]) + np.array([x, y]))


def plate(e: Easel, kinds: tuple[str, ...] = ("round", "round", "square", "board"), r: float = 1.02) -> None:
    """Lay a plate of one of the kinds round, square, board, paper, and make it the easel's ground."""
    kind = e.rng.choice(kinds)
    colour = tone(e.rng, *CROCKERY, spread=8)
    e.shadow(0, 0, r, 0.5)
    if kind == "board":
        colour = tone(e.rng, "#b98a55", "#8d5f3a", "#d0aa78", "#4a4a4e", "#6d4a30")
        e.slab(
            square(0, 0, r, e.rng.uniform(0.75, 1), e.rng.uniform(-0.3, 0.3), 0.1), 0, 0.05, colour, shade(colour, 0.6)
        )
        for i in range(-3, 4):
            line = np.array([[-0.9 * r, i * 0.2 * r], [0.9 * r, i * 0.2 * r]])
            e.stroke(e.project(line, 0.05), shade(colour, 0.88), 0.012)
    elif kind == "paper":
        colour = tone(e.rng, "#f3efe6", "#d9c3a0", "#f7f7f7")
        e.fill(e.project(square(0, 0, r, 1, e.rng.uniform(0, 1.5), 0.02)), colour)
    elif kind == "square":
        e.slab(square(0, 0, r * 0.95, 1, 0.0), 0, 0.05, colour, shade(colour, 0.7))
        e.fill(e.project(square(0, 0, r * 0.76), 0.03), shade(colour, 0.93))
    else:
        _round_plate(e, r, colour)
    e.ground = colour


def _round_plate(e: Easel, r: float, colour: Colour) -> None:
    e.slab(e.rim(0, 0, r), 0, 0.06, colour, shade(colour, 0.68))
    trim = tone(e.rng, "#3f6ea8", "#c8443c", "#c9a24a", "#5f8f5a", "#333333")
    pattern = e.rng.choice(("none", "none", "line", "dots", "band"))
    if pattern == "band":
        e.disc(0, 0, r * 0.97, trim, 0.06)
        e.disc(0, 0, r * 0.86, colour, 0.06)
    elif pattern == "line":
        e.disc(0, 0, r * 0.93, trim, 0.06)
        e.disc(0, 0, r * 0.905, colour, 0.06)
    elif pattern == "dots":
        for x, y in e.ring(14, r * 0.88):
            e.disc(x, y, 0.045, trim, 0.06)
    e.disc(0, 0, r * 0.77, shade(colour, 0.86), 0.05)
    e.disc(0, 0, r * 0.74, shade(colour, 0.95), 0.04)


def bowl(e: Easel, r: float, depth: float, filling: Colour) -> float:
    """A bowl filled with `filling`; the height of its surface is returned."""
    colour = tone(e.rng, *CROCKERY, "#a8352c", "#27406b", spread=8)
    e.shadow(0, 0, r * 0.95, 0.55)
    steps = 7
    for i in range(steps):
        t = i / (steps - 1)
        e.disc(0, 0, r * (0.55 + 0.45 * math.sqrt(t)), shade(colour, 0.6 + 0.2 * t), depth * t)
    if e.rng.random() < 0.4:
        band = tone(e.rng, "#3f6ea8", "#c8443c", "#c9a24a", "#f4f0e6")
        e.disc(0, 0, r * 0.985, band, depth * 0.86)
        e.disc(0, 0, r * 0.99, shade(colour, 0.82), depth * 0.94)
    e.disc(0, 0, r, shade(colour, 1.05), depth)
    e.disc(0, 0, r * 0.92, shade(colour, 0.74), depth)
    e.disc(0, 0, r * 0.87, filling, depth * 0.9)
    e.ground = colour
    return depth * 0.9


def develop(image: Image.Image, size: int, rng: Random, light: tuple[float, float]) -> bytes:
    """The drawing as a photograph: reduced to `size` pixels, lit, a little blurred and noisy, as JPEG bytes."""
    small = image.resize((size, size), Image.Resampling.LANCZOS)
    blur = rng.choice((0.0, 0.0, 0.0, 0.4, 0.6, 0.9)) * size / 64
    if blur:
        small = small.filter(ImageFilter.GaussianBlur(blur))
    pixels = np.asarray(small, dtype=np.float32)
    along = np.linspace(-1, 1, size, dtype=np.float32)
    slope = rng.uniform(0.04, 0.26)
    gain = np.float32(1) + np.float32(slope) * (
        np.float32(light[0]) * along[None, :] + np.float32(light[1]) * along[:, None]
    )
    gain -= np.float32(rng.uniform(0, 0.16)) * (along[None, :] ** 2 + along[:, None] ** 2)
    warmth = rng.uniform(-0.12, 0.16)
    tint = np.array([1 + warmth * 0.6, 1 + warmth * 0.1, 1 - warmth], dtype=np.float32)
    exposure, contrast = rng.uniform(0.85, 1.18), rng.uniform(0.85, 1.2)
    pixels = ((pixels - 128) * contrast + 128) * np.float32(exposure) * gain[:, :, None] * tint
    grain = np.random.default_rng(rng.getrandbits(64)).standard_normal((size, size, 3), dtype=np.float32)
    pixels += grain * np.float32(rng.uniform(0.5, 5.5))
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=rng.randint(78, 90))
    return out.getvalue()
