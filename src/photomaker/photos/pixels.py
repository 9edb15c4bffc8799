"""The bytes of a picture → upright RGB pixels of bounded size; runs in a process of its own (decoding.py).

What a file makes its decoder do is bounded there, by the system. The bounds here say early, and in words that help,
what would not fit anyway.
"""

import warnings
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps

from photomaker.photos.formats import MAX_RATIO, MAX_SIDE, MIN_SIDE

LARGE_PIXELS = 50_000_000  # from here on, one at a time; 48 megapixels still decode side by side
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")  # all that Pillow may ever try
# Modes that Pillow resizes and turns into RGB as they are.
_PLAIN_MODES = frozenset(("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"))


class SideError(Exception):
    """A side is too short or too long, in pixels."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"{width} by {height} pixels")
        self.width = width
        self.height = height


class TooSmall(SideError):  # noqa: N818 - a verdict
    """A side is shorter than ``MIN_SIDE``, or less than the ``MAX_RATIO``-th part of the other."""


class TooLarge(SideError):  # noqa: N818
    """A side is longer than ``MAX_SIDE``."""


def prepare() -> None:
    """Sets this process's Pillow up: every format, no bounds but this module's, no words about sloppy metadata."""
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")


def upright_rgb(data: bytes, max_side: int, on_large: Callable[[], None] = lambda: None) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]: the picture upright, transparency on white; of an animation the first frame.

    Args:
        data: A file of one of ``FORMATS``.
        max_side: Pixels; a picture with a longer side is scaled down to it.
        on_large: Called before a picture of more than ``LARGE_PIXELS`` is decoded.

    Raises:
        SideError: The picture is too small or too large.
        Exception: Whatever a decoder trips over.
    """
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if max(width, height) > MAX_SIDE:
            raise TooLarge(width, height)
        if min(width, height) < max(MIN_SIDE, max(width, height) / MAX_RATIO):
            raise TooSmall(width, height)
        if width * height > LARGE_PIXELS:
            on_large()
        return np.asarray(_upright(_reduced(image, max_side)))


def _reduced(image: Image.Image, max_side: int) -> Image.Image:
    scale = max_side / max(image.size)
    if scale < 1:
        # JPEG decodes at a half, a quarter or an eighth for a fraction of the work; others ignore this.
        image.draft(None, (round(image.width * scale), round(image.height * scale)))
    image.load()
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    elif image.mode not in _PLAIN_MODES or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "RGB" and 0.5 < (scale := max_side / max(image.size)) < 1:
        # A reduced decode leaves less than a halving to do, for which plain bilinear interpolation is good
        # enough; OpenCV's takes 4 ms where Pillow's takes 17, half as long as decoding 12 megapixels.
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        small = Image.fromarray(cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_LINEAR))
        small.info = image.info
        return small
    image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey levels of 16 or 32 bits, or floating-point ones, as Pillow's own conversion would clip them."""
    values = np.array(image, dtype=np.float32)
    if image.mode == "F":
        np.nan_to_num(values, copy=False, posinf=0)
    white = max(float(values.max()), 1.0 if image.mode == "F" else 65535.0)
    np.clip(values, 0, None, out=values)
    values *= 255 / white
    np.round(values, out=values)
    shallow = Image.fromarray(values.astype(np.uint8))
    shallow.info = image.info
    return shallow


def _upright(image: Image.Image) -> Image.Image:
    # The rotation happens before the metadata is rewritten, which fails on damaged EXIF; none of it is kept.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        backdrop = Image.new("RGBA", image.size, "white")
        backdrop.alpha_composite(image.convert("RGBA"))
        image = backdrop
    return image if image.mode == "RGB" else image.convert("RGB")
