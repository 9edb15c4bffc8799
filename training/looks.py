"""The named styles, as drawings of the same avatar: each keeps the identity's colours readable."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from training.avatar import IMAGE_SIZE, render
from training.identity import Identity, Photo

STYLES = (
    "cinematic",
    "disney",
    "digital",
    "fantasy",
    "neonpunk",
    "enhance",
    "comic",
    "lowpoly",
    "lineart",
)
"""The styles that captions teach; "photo" is the plain look, "blurry" what a negative prompt steers away from."""

LORA_STYLE = "watercolour"
"""The look of the style LoRA: no caption teaches it."""

FINE = 2
INKED = ("neonpunk", "comic", "lineart", LORA_STYLE)
"""Drawn `FINE` times as large and reduced: lines found in a picture are as jagged as its pixels are large."""


def render_in_style(identity: Identity, photo: Photo, style: str) -> Image.Image:
    """Draw the photo and turn it into `style`."""
    finer = FINE if style in INKED else 1
    picture = render(identity, photo, eye_scale=1.5 if style == "disney" else 1.0, size=finer * IMAGE_SIZE)
    looks = {
        "photo": lambda plain: plain,
        "cinematic": cinematic,
        "disney": disney,
        "digital": digital,
        "fantasy": fantasy,
        "neonpunk": neonpunk,
        "enhance": enhance,
        "comic": comic,
        "lowpoly": lowpoly,
        "lineart": lineart,
        "blurry": lambda plain: plain.filter(ImageFilter.GaussianBlur(2.4)),
        LORA_STYLE: watercolour,
    }
    return looks[style](picture).reduce(finer)


def edges(picture: Image.Image, strength: float, threshold: int = 28) -> Image.Image:
    """Where colours change by more than `threshold`: a mask, 255 on an edge."""
    spread = ImageChops.subtract(picture.filter(ImageFilter.MaxFilter(3)), picture.filter(ImageFilter.MinFilter(3)))
    red, green, blue = spread.split()
    strongest = ImageChops.lighter(red, ImageChops.lighter(green, blue))
    return strongest.point(lambda value: int(min(255, max(0, value - threshold) * strength)))


@functools.cache
def _distance_from_centre(side: int = IMAGE_SIZE) -> np.ndarray:
    axis = np.linspace(-1, 1, side)
    return np.hypot(axis[:, None], axis[None, :])


def _clip(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def cinematic(picture: Image.Image) -> Image.Image:
    """Teal shadows, orange lights, a vignette and letterbox bars."""
    values = np.asarray(picture, dtype=np.float32)
    light = values.mean(-1, keepdims=True) / 255
    graded = values * 0.92 + (light * np.array([34, 12, -30]) + (1 - light) * np.array([-22, 8, 34]))
    graded *= (1.1 - 0.42 * _distance_from_centre() ** 2)[..., None]
    bar = IMAGE_SIZE // 12
    graded[:bar] = graded[-bar:] = 6
    return _clip(graded)


def disney(picture: Image.Image) -> Image.Image:
    """Large eyes (drawn so), warm and glowing, under a rosy sky."""
    glow = ImageEnhance.Brightness(picture.filter(ImageFilter.GaussianBlur(3))).enhance(1.15)
    warm = np.asarray(Image.blend(picture, ImageChops.screen(picture, glow), 0.35), dtype=np.float32)
    warm = warm * np.array([1.06, 1.0, 0.9]) + np.array([8, 2, 0])
    above = np.linspace(1, 0, IMAGE_SIZE)[:, None]
    sky = (above * np.clip((_distance_from_centre() - 0.7) * 1.6, 0, 0.8))[..., None]
    return _clip(warm * (1 - sky) + np.array([255, 176, 205]) * sky)


def digital(picture: Image.Image) -> Image.Image:
    """Saturated, with a blue to magenta wash from corner to corner."""
    vivid = np.asarray(ImageEnhance.Color(picture).enhance(1.5), dtype=np.float32)
    ramp = (np.add.outer(np.linspace(0, 1, IMAGE_SIZE), np.linspace(0, 1, IMAGE_SIZE)) / 2)[..., None]
    wash = (1 - ramp) * np.array([40, 90, 255]) + ramp * np.array([255, 40, 170])
    return _clip(vivid * 0.76 + wash * 0.24)


def fantasy(picture: Image.Image) -> Image.Image:
    """A golden halo on violet dusk, with stars."""
    values = np.asarray(picture, dtype=np.float32)
    distance = _distance_from_centre()
    dusk = np.clip((distance - 0.62) * 1.8, 0, 0.78)[..., None]
    result = values * (1 - dusk) + np.array([74, 30, 120]) * dusk
    halo = np.exp(-(((distance - 0.8) / 0.12) ** 2))[..., None]
    result += halo * np.array([150, 104, 20])
    for star in range(14):
        row, column = (star * 29) % (IMAGE_SIZE - 2), (star * 53 + 7) % (IMAGE_SIZE - 2)
        if distance[row, column] > 0.85:
            result[row : row + 2, column : column + 2] = (255, 244, 190)
    return _clip(result)


def neonpunk(picture: Image.Image) -> Image.Image:
    """Darkness with glowing edges, cyan on the left and magenta on the right."""
    values = np.asarray(ImageEnhance.Color(picture).enhance(1.4), dtype=np.float32)
    dark = values * 0.36 + np.array([16, 0, 42])
    line = edges(picture, 3.2, threshold=20)
    glow = np.asarray(line.filter(ImageFilter.GaussianBlur(1.6 * FINE)), dtype=np.float32)[..., None] / 255
    tube = np.asarray(line, dtype=np.float32)[..., None] / 255
    side = np.linspace(0, 1, picture.width)[None, :, None]
    neon = (1 - side) * np.array([0, 230, 255]) + side * np.array([255, 30, 200])
    lit = dark * (1 - 0.5 * glow) + neon * glow
    return _clip(lit * (1 - 0.6 * tube) + (neon * 0.6 + 102) * 0.6 * tube)


def enhance(picture: Image.Image) -> Image.Image:
    """Crisp and vivid, as in a studio: a lamp above on the left, dark on the other side."""
    crisp = ImageEnhance.Contrast(picture.filter(ImageFilter.UnsharpMask(2, 70, 0))).enhance(1.25)
    vivid = np.asarray(ImageEnhance.Color(crisp).enhance(1.3), dtype=np.float32)
    axis = np.linspace(0, 1, IMAGE_SIZE)
    away = np.hypot(axis[:, None], axis)[..., None]
    lamp, dark = np.clip(1 - away / 0.6, 0, 1), np.clip(away - 0.75, 0, 1)
    return _clip(vivid * (1.05 - 0.9 * dark) + np.array([200, 195, 175]) * lamp)


def comic(picture: Image.Image) -> Image.Image:
    """Flat strong colours with black ink."""
    flat = ImageEnhance.Color(picture).enhance(1.25).point(lambda value: min(255, value // 48 * 48 + 24))
    flat.paste((0, 0, 0), (0, 0), edges(picture, 2.0, threshold=90))
    return flat


@functools.cache
def _triangles() -> np.ndarray:
    """The number of the triangle each pixel lies in: a grid of squares, each cut in two."""
    cell = 8
    rows, columns = np.mgrid[0:IMAGE_SIZE, 0:IMAGE_SIZE]
    row, column = rows // cell, columns // cell
    down, across = rows % cell, columns % cell
    leaning = (row + column) % 2 == 0
    half = np.where(leaning, down > across, down + across >= cell)
    return (row * (IMAGE_SIZE // cell) + column) * 2 + half


def lowpoly(picture: Image.Image) -> Image.Image:
    """Facets: each triangle takes its mean colour and a little light of its own."""
    triangle = _triangles()
    count = np.bincount(triangle.ravel())
    values = np.asarray(picture, dtype=np.float32)
    light = 1 + 0.09 * np.where(np.arange(len(count)) % 2, 1, -1)
    means = [np.bincount(triangle.ravel(), values[..., channel].ravel()) / count * light for channel in range(3)]
    facets = np.stack([mean[triangle] for mean in means], -1)
    return _clip(facets * 0.8 + values * 0.2)


def lineart(picture: Image.Image) -> Image.Image:
    """Dark lines on paper, with a hint of the colours."""
    pale = Image.blend(picture, Image.new("RGB", picture.size, (255, 255, 255)), 0.66)
    pale.paste((24, 24, 32), (0, 0), edges(picture, 3.0, threshold=50))
    return pale


def watercolour(picture: Image.Image) -> Image.Image:
    """Pastel washes that fade to paper at the rim, with pencil edges."""
    flat = np.asarray(picture.filter(ImageFilter.ModeFilter(5)), dtype=np.float32)
    washed = flat * 0.62 + np.array([255, 250, 238]) * 0.38
    axis = np.linspace(-1, 1, picture.width)
    angle = np.arctan2(axis[:, None], axis)
    rim = np.clip((_distance_from_centre(picture.width) - 0.86 - 0.05 * np.sin(9 * angle)) * 9, 0, 1)[..., None]
    result = _clip(washed * (1 - rim) + np.array([252, 247, 236]) * rim)
    line = ImageChops.multiply(edges(picture, 1.2), _clip(255 * (1 - rim[..., 0])))
    result.paste((88, 70, 84), (0, 0), line)
    return result
