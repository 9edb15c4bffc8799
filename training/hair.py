"""Hair and beards."""

from __future__ import annotations

import math

from training.identity import Identity
from training.pen import Colour, Pen, Point, arc_points, mix, shade

WHITE: Colour = (255, 255, 255)


def draw_back_hair(pen: Pen, identity: Identity, hair: Colour, x: float, y: float) -> None:
    """What hangs behind the head and neck."""
    width, height = identity.face_width, identity.face_height
    dark = shade(hair, 0.8)
    top = y - height
    if identity.hair_style == "long":
        pen.polygon(
            [
                *arc_points(x, y - 6, width + 11, height + 4, 180, 360),
                (x + width + 12, y + 52),
                (x - width - 12, y + 52),
            ],
            dark,
        )
    elif identity.hair_style == "bob":
        pen.polygon(
            [
                *arc_points(x, y - 6, width + 11, height + 4, 180, 360),
                (x + width + 13, y + 29),
                (x - width - 13, y + 29),
            ],
            dark,
        )
    elif identity.hair_style == "bun":
        pen.ellipse(x, top - 7, 15, 13, dark)
        pen.ellipse(x - 2, top - 9, 10, 7, hair)
    elif identity.hair_style == "curly":
        reach = 200 if identity.gender == "man" else 270
        for step in range(13):
            angle = math.radians(-90 - reach / 2 + reach * step / 12)
            pen.ellipse(x + (width + 3) * math.cos(angle), y - 4 + (height + 1) * math.sin(angle), 12, 12, dark)


def _fringe(x: float, y: float, across: float, up: float, drop: float, hairline: list[Point]) -> list[Point]:
    """A cap of hair: over the skull from temple to temple, and back along the hairline."""
    return [(x - across, y + drop), *arc_points(x, y - 4, across, up, 180, 360), (x + across, y + drop), *hairline]


def draw_front_hair(pen: Pen, identity: Identity, hair: Colour, x: float, y: float) -> None:
    """What lies on the head and forehead, with a highlight."""
    width, height, style = identity.face_width, identity.face_height, identity.hair_style
    top = y - height
    if style == "bald":
        pen.ellipse(x - 10, top + 9, 8, 4, WHITE if identity.skin == "pale" else mix((230, 190, 160), WHITE, 0.3))
        return
    if style == "short":
        hairline = [(x + width - 1, y - 10), (x + 19, y - 21), (x - 8, y - 24), (x - width + 1, y - 10)]
        pen.polygon(_fringe(x, y, width + 3, height + 3, -4, hairline), hair)
    elif style == "spiky":
        hairline = [(x + width - 1, y - 12)]
        for spike in range(3, -4, -1):
            hairline += [(x + spike * 8 + 4, y - 24), (x + spike * 8, y - 17)]
        pen.polygon(_fringe(x, y, width + 3, height, -6, hairline), hair)
        for spike in range(-3, 4):
            foot, tip = x + spike * 9, x + spike * 11.5
            pen.polygon(
                [
                    (foot - 8, top + 10 + abs(spike) * 3),
                    (tip, top - 13 + spike * spike * 1.9),
                    (foot + 8, top + 10 + abs(spike) * 3),
                ],
                hair,
            )
    elif style == "curly":
        for curl in range(-3, 4):
            pen.ellipse(x + curl * 9, top + 6 + curl * curl * 1.5, 9.5, 9.5, hair)
            pen.ellipse(x + curl * 9 - 2, top + 3 + curl * curl * 1.5, 4, 4, mix(hair, WHITE, 0.25))
        return
    elif style == "long":
        hairline = [
            (x + width - 2, y + 14),
            (x + width - 5, y - 8),
            (x, y - 31),
            (x - width + 5, y - 8),
            (x - width + 2, y + 14),
        ]
        pen.polygon(_fringe(x, y, width + 7, height + 4, 24, hairline), hair)
        pen.line([(x, top - 3), (x, top + 6)], 1.4, shade(hair, 0.7))
    elif style == "bob":
        hairline = [(x + width - 4, y + 22), (x + width - 4, y - 18), (x - width + 4, y - 18), (x - width + 4, y + 22)]
        pen.polygon(_fringe(x, y, width + 8, height + 4, 27, hairline), hair)
    elif style == "bun":
        hairline = [(x + width - 2, y - 6), (x + 20, y - 22), (x, y - 27), (x - 20, y - 22), (x - width + 2, y - 6)]
        pen.polygon(_fringe(x, y, width + 3, height + 2, -2, hairline), hair)
    pen.arc(x, y - 2, width - 5, height - 3, 218, 285, 3.6, mix(hair, WHITE, 0.35))


def draw_beard(pen: Pen, identity: Identity, hair: Colour, skin: Colour, x: float, y: float) -> None:
    """A full beard or a moustache, in the hair's colour."""
    width, height = identity.face_width, identity.face_height
    if identity.beard == "beard":
        jaw = arc_points(x, y + 1, width + 1.2, height + 4.5, 4, 176)
        pen.polygon(
            [
                (x + width + 0.8, y),
                *jaw,
                (x - width - 0.8, y),
                (x - width + 6, y + 12),
                (x - 9, y + 14),
                (x, y + 13),
                (x + 9, y + 14),
                (x + width - 6, y + 12),
            ],
            shade(hair, 0.9),
        )
        pen.ellipse(x, y + 21.5, 13.5, 6.6, mix(skin, hair, 0.15))
    if identity.beard == "moustache":
        for side in (-1, 1):
            pen.polygon(
                [
                    (x, y + 12),
                    (x + side * 9, y + 12.5),
                    (x + side * 18, y + 18.5),
                    (x + side * 17, y + 21),
                    (x + side * 8, y + 18.5),
                    (x, y + 17.5),
                ],
                shade(hair, 0.9),
            )
