"""Pictures and archives made for one test each."""

import io
import tarfile
import warnings
import zipfile
from collections.abc import Iterable

import pillow_heif
import pytest
from PIL import Image

pillow_heif.register_heif_opener()

Files = Iterable[tuple[str, bytes]]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def picture(kind: str = "JPEG", size: tuple[int, int] = (64, 48), color: object = RED, **options: object) -> bytes:
    mode = str(options.pop("mode", "RGB"))
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, kind, **options)
    return file.getvalue()


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def zipped(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as writer:
        warnings.simplefilter("ignore")  # duplicate names are the point of one test
        for name, content in files:
            writer.writestr(name, content)
    return file.getvalue()


def tarred(files: Files, mode: str = "w", flavour: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=flavour) as writer:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            writer.addfile(entry, io.BytesIO(content))
    return file.getvalue()


CONTAINERS = {
    "zip": zipped,
    "deflated zip": lambda files: zipped(files, zipfile.ZIP_DEFLATED),
    "zip with a stub": lambda files: b"#!/bin/sh\n" * 99 + zipped(files),
    "pax tar": tarred,
    "gnu tar": lambda files: tarred(files, flavour=tarfile.GNU_FORMAT),
    "ustar": lambda files: tarred(files, flavour=tarfile.USTAR_FORMAT),
    "tar.gz": lambda files: tarred(files, "w:gz"),
    "tar.bz2": lambda files: tarred(files, "w:bz2"),
}
in_every_container = pytest.mark.parametrize("contain", CONTAINERS.values(), ids=CONTAINERS)


def close(image: Image.Image, at: tuple[int, int], color: tuple[int, int, int]) -> bool:
    pixel = image.getpixel(at)
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= 12 for a, b in zip(pixel, color, strict=True))
