"""PNG encoders of the ecosystem, side by side; those that are not installed are named."""

import io
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from PIL import Image
from rich.table import Table

Encode = Callable[[Image.Image], bytes]
Seconds = Callable[[Callable[[], Any]], float]


def this_project(picture: Image.Image) -> bytes:
    from photomaker.pictures.png import encode_png

    return encode_png(picture)


def opencv(*options: int) -> Encode:
    def encode(picture: Image.Image) -> bytes:
        return bytes(cv2.imencode(".png", cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR), options)[1])

    return encode


def pillow(level: int) -> Encode:
    def encode(picture: Image.Image) -> bytes:
        encoded = io.BytesIO()
        picture.save(encoded, "PNG", compress_level=level)
        return encoded.getvalue()

    return encode


def fpng(picture: Image.Image) -> bytes:
    return bytes(import_module("fpng").from_pil(picture))


def libspng(picture: Image.Image) -> bytes:
    return bytes(import_module("pyspng").encode(np.asarray(picture), compress_level=1))


def imagecodecs(codec: str, level: int) -> Encode:
    def encode(picture: Image.Image) -> bytes:
        return bytes(getattr(import_module("imagecodecs"), codec)(np.asarray(picture), level=level))

    return encode


RLE = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER)
ENCODERS: dict[str, Encode] = {
    "this project: OpenCV, RLE, Paeth": this_project,
    "OpenCV, RLE, Up": opencv(*RLE, cv2.IMWRITE_PNG_FILTER_UP),
    "OpenCV, RLE, all filters tried": opencv(*RLE, cv2.IMWRITE_PNG_ALL_FILTERS),
    "OpenCV, level 0": opencv(cv2.IMWRITE_PNG_COMPRESSION, 0),
    "OpenCV, level 1": opencv(cv2.IMWRITE_PNG_COMPRESSION, 1),
    "OpenCV, level 3": opencv(cv2.IMWRITE_PNG_COMPRESSION, 3),
    "Pillow, level 1: fal's toolkit": pillow(1),
    "Pillow, level 6: its default": pillow(6),
    "fpng": fpng,
    "pyspng-seunglab, level 1": libspng,
    "imagecodecs, libspng, level 0": imagecodecs("spng_encode", 0),
    "imagecodecs, libspng, level 1": imagecodecs("spng_encode", 1),
    "imagecodecs, libpng, level 1": imagecodecs("png_encode", 1),
}


def compared(pictures: dict[str, Image.Image], seconds: Seconds) -> tuple[Table, list[str]]:
    """A table of encoders, each one's pictures read back and compared, and the names of those that are missing."""
    width, height = next(iter(pictures.values())).size
    table = Table(f"PNG of {width} x {height}", *(f"{name} {unit}" for name in pictures for unit in ("ms", "MB")))
    missing = []
    for name, encode in ENCODERS.items():
        row = []
        try:
            for picture in pictures.values():
                data = encode(picture)
                decoded = Image.open(io.BytesIO(data)).convert("RGB")
                assert np.array_equal(np.asarray(decoded), np.asarray(picture)), name
                row += [f"{seconds(partial(encode, picture)) * 1000:.0f}", f"{len(data) / 1e6:.2f}"]
        except (ImportError, AttributeError):  # pyspng and pyspng-seunglab share a module, only one encodes
            missing.append(name)
        else:
            table.add_row(name, *row)
    return table, missing
