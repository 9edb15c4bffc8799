"""One picture from a stranger: bytes → an upright RGB image of bounded size."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import BytesIO

import cv2
import numpy as np
import pillow_heif
from PIL import Image, ImageOps

from photomaker.errors import (
    ImageError,
    ImageLoadError,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageFormatError,
)

# A face that fills an eighth of a wide photo is still 192 px here: more than the face detector aligns (112 px)
# and about what the ID encoder sees (224 px). Larger sides would cost decoding time and memory for nothing.
MAX_PHOTO_SIDE = 1536
MIN_SIDE = 32  # pixels; there is no face to find in less
MAX_SIDE = 16_384  # pixels, about what the formats other than JPEG, PNG and TIFF can express
MAX_PIXELS = 120_000_000  # a phone's 108 megapixels pass
LARGE_PIXELS = 50_000_000  # from here on, one at a time; 48 megapixels still decode side by side
MAX_JPEG_SCANS = 50  # a progressive JPEG has about ten; a thousand would cost a thousand passes over the picture
MAX_READS = 200_000  # of a file by its decoder; libpng's usual 8 KiB chunks need some 30,000 for 64 MiB
DECODERS = min(4, os.cpu_count() or 1)  # threads, each with up to 4 bytes a pixel of LARGE_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")  # all that Pillow may ever try
SNIFFED_BYTES = 32

_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
)
_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"avif", b"avis")
)
_OTHER_PICTURES = (
    b"8BPS",  # Photoshop
    b"%!PS",  # PostScript
    b"<svg",
    b"\0\0\0\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",  # JPEG 2000 codestream
    b"\0\0\0\x0cJXL ",
    b"\xff\x0a",  # JPEG XL codestream
    b"\0\0\1\0",  # icon
    b"v/1\1",  # OpenEXR
    b"#?RADIANCE",
)
# Modes that Pillow resizes and turns into RGB as they are.
_PLAIN_MODES = frozenset(("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"))

pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)

_one_reader = threading.Lock()
_one_large_image = threading.Lock()


def is_image(head: bytes) -> bool:
    """Whether a file that begins so (``SNIFFED_BYTES`` suffice) claims to be of a supported format."""
    if head[4:8] == b"ftyp":
        return head[8:12] in _HEIF_BRANDS
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_unsupported_image(head: bytes) -> bool:
    """Whether a file that begins so is a picture, but of a format that is not supported."""
    return head.startswith(_OTHER_PICTURES)


@contextmanager
def quiet_reader() -> Iterator[None]:
    """One reader of pictures at a time, without the warnings that decoders give about sloppy metadata.

    Warning filters belong to the process, so two readers would restore each other's; and one reader, with
    all its threads, is what the memory bounds of this module are about.
    """
    with _one_reader, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif")
        yield


def read_image(data: bytes, *, field: str = "initial_image_url", max_side: int = MAX_PHOTO_SIDE) -> Image.Image:
    """One picture, such as the one that image-to-image begins with.

    Args:
        data: A JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF file; of an animation the first frame.
        field: The input field it came from; errors carry it.
        max_side: Pixels; a picture with a longer side is scaled down to it.

    Returns:
        RGB, upright, transparency on white.

    Raises:
        ImageError: As for :func:`decode`.
    """
    with quiet_reader():
        return decode(data, field=field, max_side=max_side)


def decode(data: bytes, *, field: str, max_side: int, name: str = "The image") -> Image.Image:
    """One picture; to be called under :func:`quiet_reader`, by up to ``DECODERS`` threads.

    Raises:
        UnsupportedImageFormatError: It is of another format, or no picture at all.
        ImageLoadError: It is empty, cut short or damaged.
        ImageTooSmallError: A side is shorter than ``MIN_SIDE``.
        ImageTooLargeError: A side is longer than ``MAX_SIDE``, or there are more than ``MAX_PIXELS``.
    """
    if data and not is_image(data[:SNIFFED_BYTES]):
        raise UnsupportedImageFormatError(
            field,
            f"{name} is not a picture in a supported format. Send JPEG, PNG, WebP or HEIC.",
        )
    try:
        return _decode(data, field, max_side, name)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(field, name) from error
    except Exception as error:  # a decoder on bytes from a stranger raises whatever its parser trips over
        raise ImageLoadError(
            field, f"{name} cannot be read. Make sure that the file is complete and opens in an image viewer."
        ) from error


class _CountedReads(BytesIO):
    """A file in memory that ends a decoder's patience with millions of empty chunks, markers or blocks."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise OSError("The file consists of too many pieces.")
        return super().read(size)


def _decode(data: bytes, field: str, max_side: int, name: str) -> Image.Image:
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise ImageLoadError(field, f"{name} has too many scans. Save it again as an ordinary JPEG.")
    with Image.open(_CountedReads(data), formats=FORMATS) as image:
        width, height = image.size
        if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
            raise _too_large(field, name)
        if min(width, height) < MIN_SIDE:
            raise ImageTooSmallError(
                field,
                f"{name} is {width} by {height} pixels. Send a picture of at least {MIN_SIDE} by {MIN_SIDE}.",
                min_height=MIN_SIDE,
                min_width=MIN_SIDE,
            )
        with _one_large_image if width * height > LARGE_PIXELS else nullcontext():
            return _upright(_reduced(image, max_side))


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
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0)
    white = max(float(values.max()), 1.0 if image.mode == "F" else 65535.0)
    shallow = Image.fromarray((values.clip(0) * (255 / white)).round().astype(np.uint8))
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
    upright = image.convert("RGB")
    upright.info = {}
    return upright


def _too_large(field: str, name: str) -> ImageTooLargeError:
    return ImageTooLargeError(
        field,
        f"{name} has more than {MAX_PIXELS // 10**6} million pixels, or a side of more than {MAX_SIDE}. "
        "Send it smaller.",
        max_height=MAX_SIDE,
        max_width=MAX_SIDE,
    )
