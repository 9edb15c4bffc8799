"""Files made to keep whoever reads them busy."""

import bz2
import gzip
import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image

from fuzzing.samples import picture, zipped


def endless_exif(segments: int = 30_000, size: int = 1300) -> bytes:
    """A JPEG whose EXIF is in so many segments that putting them together takes half an hour."""
    segment = b"\xff\xe1" + struct.pack(">H", size + 2) + b"Exif\0\0" + bytes(size - 6)
    whole = picture("JPEG")
    return whole[:2] + segment * segments + whole[2:]


def tiff(entries: dict[int, tuple[int, list[int]]], body: bytes = b"") -> bytes:
    """A little-endian TIFF: each tag's type (3: 16 bits, 4: 32 bits, 5: fractions) and values, and a body at 8."""
    values, directory = b"", b""
    offset = 8 + len(body)
    for tag, (kind, numbers) in sorted(entries.items()):
        count = len(numbers) // 2 if kind == 5 else len(numbers)
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            directory += struct.pack("<HHII", tag, kind, count, offset + len(values))
            values += packed
        else:
            directory += struct.pack("<HHI4s", tag, kind, count, packed.ljust(4, b"\0"))
    return (
        struct.pack("<2sHI", b"II", 42, offset + len(values))
        + body
        + values
        + struct.pack("<H", len(entries))
        + directory
        + bytes(4)
    )


def deflated_zeros(count: int) -> bytes:
    """What zlib makes of so many zeros, without counting them all."""
    deflate = zlib.compressobj(9, wbits=-15)
    thousands, rest = divmod(count, 1_000_000)
    piece = deflate.compress(bytes(1_000_000)) + deflate.flush(zlib.Z_FULL_FLUSH)
    end = deflate.compress(bytes(rest)) + deflate.flush()
    return b"\x78\x9c" + piece * thousands + end + ((count % 65521) << 16 | 1).to_bytes(4, "big")


def huge_tile(side: int) -> bytes:
    """64 by 64 pixels, in one deflated tile of ``side`` by ``side`` bytes."""
    packed = deflated_zeros(side * side)
    return tiff(
        {
            256: (3, [64]),
            257: (3, [64]),
            258: (3, [8]),
            259: (3, [8]),
            262: (3, [1]),
            277: (3, [1]),
            322: (4, [side]),
            323: (4, [side]),
            324: (4, [8]),
            325: (4, [len(packed)]),
        },
        packed,
    )


def blank(kind: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    """A large picture in a small file."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def scans(count: int, size: tuple[int, int] = (8000, 6000)) -> bytes:
    """A progressive JPEG that sends its last scan again and again."""
    whole = blank("JPEG", size, progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + whole[-2:]


def hostile() -> dict[str, Callable[[], bytes]]:
    """What each is, and what makes it."""
    small = {256: (3, [64]), 257: (3, [64]), 258: (3, [8]), 262: (3, [1])}
    return {
        "JPEG, EXIF in 49,000 segments of 1,300 bytes": lambda: endless_exif(49_000),
        "50 such JPEGs in a zip": lambda: zipped({f"{index}.jpg": endless_exif(24_000, 800) for index in range(50)}),
        "JPEG, 48 megapixels in 3,000 scans": lambda: scans(3000),
        "TIFF, 64 by 64 in a tile of 46,000 by 46,000": lambda: huge_tile(46_000),
        "TIFF, 8,000,000 strips": lambda: tiff({**small, 273: (5, [8, 3] * 8_000_000)}),
        "PNG, grey of 16 bits, 199 megapixels": lambda: blank("PNG", (16_320, 12_240), "I;16", compress_level=1),
        "WebP, 119 megapixels": lambda: blank("WEBP", (10_900, 10_900), method=0),
        "PNG, 268 megapixels, transparent": lambda: blank("PNG", (16_384, 16_384), "RGBA", compress_level=1),
        "gzip of 5,000,000 empty members": lambda: gzip.compress(b"") * 5_000_000,
        "bzip2 of 5,000,000 empty members": lambda: bz2.compress(b"") * 5_000_000,
        "zip of 12 pictures that expand to 99 MB each": lambda: zipped(
            {f"{index}.bmp": picture("BMP") + bytes(99_000_000) for index in range(12)}
        ),
    }
