"""Filled shapes in units of 1/128 of the picture, moved, scaled and tilted as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

PIVOT: Point = (64.0, 100.0)
"""The point about which the figure tilts and scales: the neck."""


def shade(colour: Colour, factor: float) -> Colour:
    """The colour, darker (below 1) or brighter (above 1)."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def posed(points: Sequence[Point], shift_x: float, shift_y: float, scale: float, tilt: float) -> list[Point]:
    """Where points of the figure are in the picture, both in units of 1/128."""
    cosine, sine = math.cos(math.radians(tilt)) * scale, math.sin(math.radians(tilt)) * scale
    moved = []
    for x, y in points:
        x, y = x - PIVOT[0], y - PIVOT[1]
        moved.append((PIVOT[0] + shift_x + cosine * x - sine * y, PIVOT[1] + shift_y + sine * x + cosine * y))
    return moved


class Pen:
    """Draws on an ImageDraw with `scale` pixels to the unit, everything under one pose."""

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        pixels: float,
        shift_x: float = 0.0,
        shift_y: float = 0.0,
        scale: float = 1.0,
        tilt: float = 0.0,
    ) -> None:
        self._draw = draw
        self._pixels = pixels
        self._pose = shift_x, shift_y, scale, tilt

    def _place(self, points: Sequence[Point]) -> list[Point]:
        return [(across * self._pixels, down * self._pixels) for across, down in posed(points, *self._pose)]

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon(self._place(points), fill=colour)

    def ellipse(self, x: float, y: float, across: float, down: float, colour: Colour) -> None:
        """An ellipse with half-axes `across` and `down`."""
        self.polygon(arc_points(x, y, across, down, 0, 360), colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        self._draw.line(self._place(points), fill=colour, width=round(width * self._pixels), joint="curve")

    def arc(
        self, x: float, y: float, across: float, down: float, start: float, end: float, width: float, colour: Colour
    ) -> None:
        """Part of an ellipse's outline, from angle `start` to `end` in degrees (0 is right, 90 is down)."""
        self.line(arc_points(x, y, across, down, start, end), width, colour)

    def crescent(self, x: float, y: float, across: float, depth: float, sag: float, colour: Colour) -> None:
        """A mouth: flat or sagging by `sag` above, `depth` deep below."""
        lower = arc_points(x, y, across, depth, 0, 180)
        upper = arc_points(x, y, across, sag, 180, 0) if sag > 0 else []
        self.polygon(lower + upper, colour)


def arc_points(x: float, y: float, across: float, down: float, start: float, end: float) -> list[Point]:
    """Points along an ellipse from `start` to `end` degrees."""
    count = max(6, int(abs(end - start) / 10))
    angles = [math.radians(start + (end - start) * step / count) for step in range(count + 1)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]
