"""What is behind the person: four scenes and plain backdrops."""

from __future__ import annotations

import random

from PIL import Image

from training.identity import Photo
from training.pen import Colour, Pen, mix, shade

BACKDROP: dict[str, Colour] = {
    "red": (232, 104, 98),
    "blue": (112, 178, 240),
    "green": (130, 206, 138),
    "yellow": (252, 222, 118),
    "purple": (184, 144, 226),
    "grey": (186, 190, 198),
}
WHITE: Colour = (255, 255, 255)


def draw_background(canvas: Image.Image, pen: Pen, photo: Photo) -> None:
    """Fill the canvas with the photo's background; `photo.scenery` (0 to 1) varies the scenes."""
    painter = {"beach": _beach, "snow": _snow, "city": _city, "forest": _forest}.get(photo.background)
    if painter is None:
        colour = BACKDROP[photo.background]
        _gradient(canvas, mix(colour, WHITE, 0.3), shade(colour, 0.9))
        pen.ellipse(64, 60, 60, 56, mix(colour, WHITE, 0.22))
    else:
        painter(canvas, pen, photo.scenery)


def _gradient(canvas: Image.Image, above: Colour, below: Colour) -> None:
    ramp = Image.linear_gradient("L").resize(canvas.size)
    canvas.paste(above, (0, 0, *canvas.size))
    canvas.paste(below, (0, 0), ramp)


def _beach(canvas: Image.Image, pen: Pen, scenery: float) -> None:
    _gradient(canvas, (84, 180, 250), (206, 238, 255))
    pen.ellipse(106 + 6 * scenery, 17, 11, 11, (255, 236, 130))
    pen.polygon([(-10, 66), (140, 66), (140, 96), (-10, 96)], (34, 150, 206))
    pen.polygon([(-10, 88), (64, 84), (140, 90), (140, 140), (-10, 140)], (246, 222, 162))
    trunk = 8 + 8 * scenery
    pen.line([(trunk, 100), (trunk + 5, 40)], 5, (132, 92, 56))
    for across, down in ((-16, 4), (-12, -10), (2, -15), (15, -9), (17, 5)):
        pen.line([(trunk + 5, 40), (trunk + 5 + across, 40 + down)], 5, (44, 152, 76))


def _snow(canvas: Image.Image, pen: Pen, scenery: float) -> None:
    _gradient(canvas, (150, 184, 222), (232, 240, 250))
    for x, height in ((10.0, 70), (32.0, 48), (100.0, 52), (120.0, 74)):
        x += 6 * (scenery - 0.5)
        for tier in range(3):
            half, base = 14 - 3 * tier, 98 - tier * height / 3.6
            green = (60 + 20 * tier, 116 + 22 * tier, 112 + 20 * tier)
            pen.polygon([(x - half, base), (x + half, base), (x, base - height / 2.2)], green)
    pen.ellipse(64, 160, 110, 70, WHITE)
    for flake in range(18):
        pen.ellipse((flake * 37 + 40 * scenery) % 128, (flake * 53) % 90, 1.8, 1.8, WHITE)


def _city(canvas: Image.Image, pen: Pen, scenery: float) -> None:
    _gradient(canvas, (16, 20, 58), (96, 54, 128))
    pen.ellipse(22, 17, 9, 9, (252, 244, 206))
    rng = random.Random(int(scenery * 3))
    left = -4.0
    while left < 128:
        width, height = rng.choice((16, 20, 24)), rng.choice((52, 66, 80, 92))
        wall: Colour = rng.choice(((30, 34, 72), (42, 42, 88)))
        roof, right = 128 - height, left + width - 1
        pen.polygon([(left, roof), (right, roof), (right, 130), (left, 130)], wall)
        for row in range(6, height - 4, 11):
            for column in range(4, width - 5, 7):
                if (row + column + width) % 3:
                    x, y = left + column, 128 - height + row
                    pen.polygon([(x, y), (x + 3.4, y), (x + 3.4, y + 5), (x, y + 5)], (255, 214, 104))
        left += width


def _forest(canvas: Image.Image, pen: Pen, scenery: float) -> None:
    _gradient(canvas, (178, 226, 190), (110, 174, 110))
    for tree, x in enumerate((6.0, 30.0, 64.0, 98.0, 122.0)):
        x += 6 * (scenery - 0.5)
        pen.polygon([(x - 4, 30), (x + 4, 30), (x + 4, 130), (x - 4, 130)], (106, 76, 52))
        for leaf, (across, down) in enumerate(((-6, 26), (7, 18), (0, 6))):
            pen.ellipse(x + across, down + 6 * (tree % 2), 16, 14, (36 + 16 * leaf, 106 + 20 * leaf, 56 + 10 * leaf))
    pen.polygon([(-10, 106), (140, 106), (140, 140), (-10, 140)], (72, 134, 66))
