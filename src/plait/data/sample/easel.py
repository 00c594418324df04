"""The drawing surface: a table top seen from an angle, and the few shapes everything is drawn with.

Places are in table units: (0, 0) is the middle of the picture, a plate has radius about 1, y runs away from the
viewer before the table is turned, z is the height above the table.
"""

from __future__ import annotations

import math
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

Colour = tuple[int, ...]
Points = NDArray[np.float64]


@lru_cache(maxsize=512)
def rgb(code: str) -> Colour:
    """``"#c84"`` as (red, green, blue), each 0 to 255."""
    return tuple(ImageColor.getrgb(code))[:3]


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """The colour `t` (0 to 1) of the way from `a` to `b`."""
    return tuple(round(x + (y - x) * t) for x, y in zip(a[:3], b[:3], strict=True))


def shade(colour: Colour, factor: float) -> Colour:
    """Darker below 1, lighter above: 0 is black, 2 is white."""
    return mix((0, 0, 0), colour, factor) if factor <= 1 else mix(colour, (255, 255, 255), factor - 1)


def fade(colour: Colour, alpha: float) -> Colour:
    """The colour at an opacity of 0 to 1."""
    return (*colour[:3], round(255 * alpha))


def tone(rng: Random, *codes: str, spread: int = 12) -> Colour:
    """One of the colours, each channel moved by up to `spread` of 255."""
    return tuple(min(255, max(0, c + rng.randint(-spread, spread))) for c in rgb(rng.choice(codes)))


@lru_cache(maxsize=64)
def _circle(points: int) -> tuple[Points, Points]:
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    return angle, np.stack([np.cos(angle), np.sin(angle)], axis=1)


class Easel:
    """A square RGB canvas and the view on the table.

    Attributes:
        rng: the row's own randomness; all variation comes from it.
        tilt: 1 looks straight down, 0.3 from near the table's edge.
        turn: rotation of the table in radians.
        light: unit vector on the screen (x right, y down) pointing to the light.
        ground: colour under the food, for holes and cut-outs.
    """

    def __init__(self, rng: Random, pixels: int, tilt: float, zoom: float = 1.0) -> None:
        self.rng, self.tilt, self.pixels = rng, tilt, pixels
        self.turn = rng.uniform(-math.pi, math.pi)
        self.rise = math.sqrt(1 - tilt * tilt)
        self.scale = pixels / 2.45 * zoom
        self.centre = (pixels * rng.uniform(0.4, 0.6), pixels * (rng.uniform(0.42, 0.58) + 0.1 * self.rise))
        angle = rng.uniform(-math.pi, 0)
        self.light = (math.cos(angle), math.sin(angle))
        self.ground: Colour = (220, 220, 220)
        self.image = Image.new("RGB", (pixels, pixels))
        self._solid = ImageDraw.Draw(self.image)
        self._glaze = ImageDraw.Draw(self.image, "RGBA")

    def pen(self, colour: Colour) -> ImageDraw.ImageDraw:
        """The pen for a colour: one that blends where it has an alpha."""
        return self._glaze if len(colour) == 4 else self._solid

    def project(self, places: Points, z: float = 0.0) -> Points:
        """(N, 2) places on the table, or at height `z`, as (N, 2) pixels."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        x, y = places[:, 0], places[:, 1]
        out = np.empty((len(places), 2))
        out[:, 0] = self.centre[0] + self.scale * (x * cos - y * sin)
        out[:, 1] = self.centre[1] - self.scale * (self.tilt * (x * sin + y * cos) + self.rise * z)
        return out

    def upright(self, x: float, y: float, offsets: Points, z: float = 0.0) -> Points:
        """(N, 2) offsets (right, up) of a card standing at (x, y) and facing the viewer, as pixels."""
        foot = self.project(np.array([[x, y]]), z)[0]
        return np.asarray(foot + offsets * np.array([self.scale, -self.scale]))

    def fill(self, pixels: Points, colour: Colour) -> None:
        """Fill the polygon whose corners are given in pixels."""
        self.pen(colour).polygon(pixels.ravel().tolist(), fill=colour)

    def stroke(self, pixels: Points, colour: Colour, width: float) -> None:
        """A line through pixels; `width` in table units."""
        thick = max(1, round(width * self.scale))
        self.pen(colour).line(pixels.ravel().tolist(), fill=colour, width=thick, joint="curve")

    def rim(self, x: float, y: float, r: float, squash: float = 1.0, angle: float = 0.0, wobble: float = 0.0) -> Points:
        """(N, 2) places around an ellipse of radii r and r * squash; `wobble` (0 to 0.3) makes it uneven."""
        turns, unit = _circle(max(10, min(36, int(r * self.scale * 0.9))))
        if wobble:
            phase = [self.rng.uniform(0, 6.3) for _ in range(3)]
            swing = np.sin(2 * turns + phase[0]) + np.sin(3 * turns + phase[1]) + 0.7 * np.sin(7 * turns + phase[2])
            unit = unit * (1 + wobble * 0.5 * swing)[:, None]
        around = unit * np.array([r, r * squash])
        if angle:
            cos, sin = math.cos(angle), math.sin(angle)
            around = around @ np.array([[cos, sin], [-sin, cos]])
        return np.asarray(around + np.array([x, y]))

    def disc(
        self,
        x: float,
        y: float,
        r: float,
        colour: Colour,
        z: float = 0.0,
        squash: float = 1.0,
        angle: float = 0.0,
        wobble: float = 0.0,
    ) -> None:
        """A flat ellipse on the table or at height `z`."""
        self.fill(self.project(self.rim(x, y, r, squash, angle, wobble), z), colour)

    def slab(self, places: Points, low: float, high: float, top: Colour, side: Colour) -> None:
        """A convex shape with thickness, from height `low` to `high`."""
        base = self.project(places, low)
        lift = np.array([0.0, -self.scale * self.rise * (high - low)])
        ends = base[[int(base[:, 0].argmin()), int(base[:, 0].argmax())]]
        self.fill(base, side)
        self.fill(np.concatenate([ends, ends[::-1] + lift]), side)
        self.fill(base + lift, top)

    def prism(self, places: Points, layers: list[tuple[float, Colour]], top: Colour, low: float = 0.0) -> None:
        """A convex block that starts at height `low`; its sides show `layers`, each (upper height, colour)."""
        base = self.project(places)
        up = np.array([0.0, -self.scale * self.rise])
        middle = base.mean(axis=0)
        for a, b in zip(base, np.roll(base, -1, axis=0), strict=True):
            # a side faces the viewer where its middle lies nearer than the block's
            if (a[1] + b[1]) / 2 <= middle[1] - 1e-9:
                continue
            dim = 0.84 + 0.16 * float(np.sign((a[0] + b[0]) / 2 - middle[0]) * np.sign(self.light[0]))
            under = low
            for high, colour in layers:
                self.fill(np.array([a + up * under, b + up * under, b + up * high, a + up * high]), shade(colour, dim))
                under = high
        self.fill(base + up * layers[-1][0], top)

    def shadow(self, x: float, y: float, r: float, strength: float = 0.4, squash: float = 1.0) -> None:
        """A soft shadow under something round, falling away from the light."""
        rim = self.project(self.rim(x, y, 1.0, squash))
        foot = self.project(np.array([[x, y]]))[0]
        away = np.array(self.light) * -0.08 * r * self.scale
        for grow in (1.16, 1.1, 1.04):
            self.fill((rim - foot) * r * grow + foot + away, fade((20, 10, 5), strength / 3))

    def scatter(self, count: int, r: float, x: float = 0.0, y: float = 0.0) -> list[tuple[float, float]]:
        """`count` places within radius `r` of (x, y), the furthest from the viewer first."""
        places = []
        for _ in range(count):
            angle, out = self.rng.uniform(0, 2 * math.pi), r * math.sqrt(self.rng.random())
            places.append((x + out * math.cos(angle), y + out * math.sin(angle)))
        return self.back_to_front(places)

    def ring(self, count: int, r: float) -> list[tuple[float, float]]:
        """`count` places evenly around a circle (the middle, where count is 1), the furthest first."""
        start = self.rng.uniform(0, 6.3)
        radius = r if count > 1 else r * self.rng.uniform(0, 0.15)
        angles = [start + 2 * math.pi * i / count for i in range(count)]
        return self.back_to_front([(radius * math.cos(a), radius * math.sin(a)) for a in angles])

    def back_to_front(self, places: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """The places in the order to draw them, so that nearer things cover further ones."""
        sin, cos = math.sin(self.turn), math.cos(self.turn)
        return sorted(places, key=lambda place: place[0] * sin + place[1] * cos, reverse=True)

    def across(self, length: float) -> tuple[float, float]:
        """The table vector of `length` that runs from left to right on the screen."""
        return length * math.cos(self.turn), -length * math.sin(self.turn)

    def towards(self, length: float) -> tuple[float, float]:
        """The table vector of `length` that runs towards the viewer."""
        return -length * math.sin(self.turn), -length * math.cos(self.turn)
