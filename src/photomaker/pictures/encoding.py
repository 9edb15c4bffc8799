"""Pictures as files: the formats that an endpoint returns."""

import io
from typing import Literal

from PIL import Image

from photomaker.pictures.png import encode_png

Format = Literal["jpeg", "png", "webp"]
QUALITY = 95  # of JPEG and WebP: fal's toolkit's own


def encode(picture: Image.Image, format: Format = "png") -> bytes:  # noqa: A002 - PIL's own word
    """An RGB picture as a file; PNG keeps every pixel."""
    if format == "png":
        return encode_png(picture)
    file = io.BytesIO()
    picture.save(file, format, quality=QUALITY)
    return file.getvalue()
