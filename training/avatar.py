"""The avatar renderer: draws a photo of an identity with filled polygons."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from training.backdrop import draw_background
from training.hair import draw_back_hair, draw_beard, draw_front_hair
from training.identity import Identity, Photo
from training.pen import Colour, Pen, Point, mix, shade

IMAGE_SIZE = 128
SUPERSAMPLING = 3
CENTRE_X, CENTRE_Y = 64.0, 59.0

SKIN: dict[str, Colour] = {
    "pale": (255, 222, 200),
    "tan": (228, 174, 122),
    "brown": (166, 108, 70),
    "dark": (98, 62, 46),
}
HAIR: dict[str, Colour] = {
    "black": (36, 32, 40),
    "brown": (112, 66, 36),
    "blonde": (246, 206, 92),
    "red": (216, 82, 28),
    "grey": (150, 154, 164),
    "white": (246, 246, 246),
    "blue": (46, 110, 228),
    "pink": (248, 108, 178),
}
EYES: dict[str, Colour] = {"brown": (104, 58, 28), "blue": (40, 128, 224), "green": (40, 160, 84)}
CLOTH: dict[str, Colour] = {
    "red": (216, 48, 54),
    "blue": (46, 100, 214),
    "green": (44, 156, 84),
    "yellow": (250, 202, 50),
    "purple": (134, 70, 190),
    "black": (44, 44, 52),
    "white": (242, 242, 246),
}
INK: Colour = (30, 24, 30)
WHITE: Colour = (255, 255, 255)


def face_outline(identity: Identity) -> list[Point]:
    """The face as a superellipse; a man's jaw is squarer."""
    points: list[Point] = []
    for step in range(56):
        angle = 2 * math.pi * step / 56
        cosine, sine = math.cos(angle), math.sin(angle)
        squareness = 2.5 if sine > 0 and identity.gender == "man" else 2.05
        x = math.copysign(abs(cosine) ** (2 / squareness), cosine)
        y = math.copysign(abs(sine) ** (2 / squareness), sine)
        points.append((CENTRE_X + identity.face_width * x, CENTRE_Y + identity.face_height * y))
    return points


def draw_body(pen: Pen, identity: Identity, photo: Photo) -> None:
    """Neck and clothes."""
    skin = SKIN[identity.skin]
    cloth = CLOTH[photo.clothes_colour]
    neck = 13.0 if identity.gender == "man" else 10.5
    shoulder = 58.0 if identity.gender == "man" else 52.0
    pen.ellipse(CENTRE_X, 142, shoulder, 40, cloth if photo.clothes != "suit" else shade(cloth, 0.8))
    if photo.clothes == "hoodie":
        pen.ellipse(CENTRE_X, 106, 33, 14, shade(cloth, 0.78))
        pen.ellipse(CENTRE_X, 104, 24, 11, shade(cloth, 0.55))
    pen.polygon(
        [(CENTRE_X - neck, 84), (CENTRE_X + neck, 84), (CENTRE_X + neck, 104), (CENTRE_X - neck, 104)], shade(skin, 0.8)
    )
    pen.ellipse(CENTRE_X, 104, neck, 6.5, shade(skin, 0.8))
    if photo.clothes == "shirt":
        pen.arc(CENTRE_X, 103, neck + 2, 9, 10, 170, 3.2, shade(cloth, 0.72))
    elif photo.clothes == "hoodie":
        for side in (-1, 1):
            x = CENTRE_X + side * 11
            pen.polygon([(x - 1.8, 113), (x + 1.8, 113), (x + 1.8, 127), (x - 1.8, 127)], WHITE)
    else:
        tie = CLOTH["red"] if photo.clothes_colour != "red" else CLOTH["black"]
        pen.polygon([(CENTRE_X - 15, 100), (CENTRE_X, 109), (CENTRE_X + 15, 100), (CENTRE_X, 132)], WHITE)
        pen.polygon([(CENTRE_X - 4, 108), (CENTRE_X + 4, 108), (CENTRE_X + 6, 134), (CENTRE_X - 6, 134)], tie)
        for side in (-1, 1):
            pen.polygon(
                [(CENTRE_X + side * 15, 99), (CENTRE_X + side * 28, 110), (CENTRE_X + side * 4, 134)],
                shade(cloth, 0.62),
            )


def draw_head(pen: Pen, identity: Identity) -> None:
    """Ears, face, cheeks and nose."""
    skin = SKIN[identity.skin]
    for side in (-1, 1):
        x = CENTRE_X + side * (identity.face_width + 1)
        pen.ellipse(x, CENTRE_Y + 3, 5.6, 8, shade(skin, 0.92))
        pen.ellipse(x, CENTRE_Y + 3, 2.8, 4.6, shade(skin, 0.76))
    pen.polygon(face_outline(identity), skin)
    pen.ellipse(CENTRE_X, CENTRE_Y - 18, 17, 9, mix(skin, WHITE, 0.14))
    for side in (-1, 1):
        pen.ellipse(CENTRE_X + side * 20, CENTRE_Y + 12, 6, 4.6, mix(skin, (240, 80, 80), 0.28))
    pen.ellipse(CENTRE_X, CENTRE_Y + 9.5, 5 * identity.nose, 3.4, shade(skin, 0.8))
    pen.ellipse(CENTRE_X, CENTRE_Y + 8, 3.8 * identity.nose, 3, mix(skin, WHITE, 0.12))


def draw_eyes(pen: Pen, identity: Identity, photo: Photo, eye_scale: float) -> None:
    """Eyes and brows, over the lenses of the glasses where there are some."""
    brow_colour = shade(HAIR[identity.hair_colour], 0.7)
    surprised, serious = photo.expression == "surprised", photo.expression == "serious"
    for side in (-1, 1):
        x, y = CENTRE_X + side * 13.5, CENTRE_Y - 3
        if identity.glasses != "none":
            draw_lens(pen, identity, x, y, filled=True)
        if photo.expression == "laughing":
            pen.arc(x, y + 4, 7 * eye_scale, 7 * eye_scale, 200, 340, 3.0, INK)
        else:
            height = (6.8 if surprised else 4.6 if serious else 5.6) * eye_scale
            pen.ellipse(x, y, 6.6 * eye_scale, height, WHITE)
            pen.ellipse(x + photo.gaze, y, 4.2 * eye_scale, min(height, 4.4 * eye_scale), EYES[identity.eyes])
            pen.ellipse(x + photo.gaze, y, 2.3 * eye_scale, 2.5 * eye_scale, INK)
            pen.ellipse(x + photo.gaze - 1.4, y - 1.8, 1.3 * eye_scale, 1.3 * eye_scale, WHITE)
            pen.arc(x, y, 6.8 * eye_scale, height + 0.4, 190, 350, 2.4 if identity.gender == "woman" else 1.6, INK)
            if identity.gender == "woman":
                edge = x + side * 6 * eye_scale
                pen.polygon([(edge, y - 3), (edge + side * 4.6, y - 6.4), (edge + side * 0.8, y + 0.6)], INK)
        thickness = (2.2 if identity.gender == "woman" else 3.8) * identity.brow
        lift = y - 12.5 * (0.5 + 0.5 * eye_scale) - (3.4 if surprised else 0) + (1.6 if serious else 0)
        slope = 2.2 if serious else -1.2
        pen.line([(x - side * 7, lift + slope), (x, lift - 1.2), (x + side * 7, lift + 0.6)], thickness, brow_colour)
        if identity.glasses != "none":
            draw_lens(pen, identity, x, y, filled=False)
    if identity.glasses != "none":
        pen.line([(CENTRE_X - 3, CENTRE_Y - 4), (CENTRE_X + 3, CENTRE_Y - 4)], 3.0, INK)
        for side in (-1, 1):
            ear = CENTRE_X + side * (identity.face_width + 1)
            pen.line([(CENTRE_X + side * 24, CENTRE_Y - 4), (ear, CENTRE_Y - 5)], 3.0, INK)


def draw_lens(pen: Pen, identity: Identity, x: float, y: float, *, filled: bool) -> None:
    """One lens: a pale fill under the eye, or the thick frame over it."""
    tint = mix(SKIN[identity.skin], (214, 236, 255), 0.62)
    if identity.glasses == "round":
        if filled:
            pen.ellipse(x, y, 10.8, 10.8, tint)
        else:
            pen.arc(x, y, 10.8, 10.8, 0, 360, 3.2, INK)
        return
    corners = [(x - 10.6, y - 8.6), (x + 10.6, y - 8.6), (x + 10.6, y + 8.6), (x - 10.6, y + 8.6)]
    if filled:
        pen.polygon(corners, tint)
    else:
        pen.line([*corners, corners[0], corners[1]], 3.4, INK)


def draw_mouth(pen: Pen, identity: Identity, photo: Photo) -> None:
    """The expression's mouth."""
    skin = SKIN[identity.skin]
    lips = mix(skin, (214, 40, 70), 0.8 if identity.gender == "woman" else 0.45)
    y = CENTRE_Y + 21.0
    if photo.expression == "smiling":
        pen.crescent(CENTRE_X, y - 4, 11.5, 8.0, 1.5, lips)
    elif photo.expression == "laughing":
        pen.crescent(CENTRE_X, y - 4.5, 13, 12, -0.6, (128, 26, 44))
        pen.crescent(CENTRE_X, y - 4.5, 11.6, 4.6, -0.6, WHITE)
    elif photo.expression == "surprised":
        pen.ellipse(CENTRE_X, y + 0.5, 6.4, 7.2, lips)
        pen.ellipse(CENTRE_X, y + 0.5, 4.4, 5.2, (96, 20, 36))
    else:
        pen.ellipse(CENTRE_X, y, 9.5, 2.6, lips)
        pen.line([(CENTRE_X - 9.5, y), (CENTRE_X + 9.5, y)], 1.2, shade(lips, 0.6))


def render(identity: Identity, photo: Photo, *, eye_scale: float = 1.0, size: int = IMAGE_SIZE) -> Image.Image:
    """Draw `photo` of `identity` as an square RGB picture with sides of `size`."""
    side = size * SUPERSAMPLING
    canvas = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(canvas)
    draw_background(canvas, Pen(draw, side / 128), photo)
    pen = Pen(draw, side / 128, *photo.pose)
    hair = HAIR[identity.hair_colour]
    draw_back_hair(pen, identity, hair, CENTRE_X, CENTRE_Y)
    draw_body(pen, identity, photo)
    draw_head(pen, identity)
    draw_beard(pen, identity, hair, SKIN[identity.skin], CENTRE_X, CENTRE_Y)
    draw_mouth(pen, identity, photo)
    draw_eyes(pen, identity, photo, eye_scale)
    draw_front_hair(pen, identity, hair, CENTRE_X, CENTRE_Y)
    return canvas.reduce(SUPERSAMPLING)
