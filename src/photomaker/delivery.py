"""Pictures on their way to the caller: encoded, uploaded, and counted in billable units.

It travels to the runner as schema.py does.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from fal.toolkit import Image
from fal.toolkit.file.types import RepositoryId
from fal.toolkit.image import ImageSize

MEGAPIXEL = 1024 * 1024
UPLOADS = 4  # at once


@dataclass(frozen=True)
class Delivered:
    """A picture, where it was uploaded to, and how many seconds that took."""

    picture: Any
    file: Image
    seconds: float


def delivered(
    pictures: Iterator[Any], form: Any, repository: RepositoryId, log: Callable[[str], None]
) -> list[Delivered]:
    """Pictures, each compared, encoded and uploaded while the next is decoded."""
    with ThreadPoolExecutor(UPLOADS) as uploads:
        uploading = [
            uploads.submit(copy_context().run, deliver, number, picture, form, repository, log)
            for number, picture in enumerate(pictures, start=1)
        ]
    return [each.result() for each in uploading]


def deliver(number: int, picture: Any, form: Any, repository: RepositoryId, log: Callable[[str], None]) -> Delivered:
    """A picture as a file, uploaded: url, content type, name, size, width and height."""
    from photomaker.pictures.encoding import encode

    started = time.perf_counter()
    if picture.likeness is not None:
        log(f"picture {number}: likeness {picture.likeness:.2f}")
    size = ImageSize(width=picture.image.width, height=picture.image.height)
    file = Image.from_bytes(encode(picture.image, form), form, size, repository=repository)
    return Delivered(picture, file, time.perf_counter() - started)


def units(width: int, height: int) -> int:
    """Billable units of a picture: one for every megapixel (1024 x 1024) begun."""
    return math.ceil(width * height / MEGAPIXEL)
