"""Archives and pictures as callers send them, and as nobody should."""

import gzip
import io
import struct
import tarfile
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from photomaker.errors import (
    FileTooLargeError,
    ImageLoadError,
    ImageTooLargeError,
    ImageTooSmallError,
    InvalidArchiveError,
    RequestError,
    TooFewPhotosError,
    TooManyPhotosError,
    UnsupportedImageFormatError,
)
from photomaker.photos import archive, containers, images
from photomaker.photos.archive import MAX_PHOTO_SIDE, MAX_PHOTOS, read_image, read_photos

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


def names(data: bytes) -> list[str]:
    return [photo.name for photo in read_photos(data)]


def close(image: Image.Image, at: tuple[int, int], color: tuple[int, int, int]) -> bool:
    pixel = image.getpixel(at)
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= 12 for a, b in zip(pixel, color, strict=True))


# Containers


@in_every_container
def test_photos_come_in_natural_order_from_any_container(contain):
    lines: list[str] = []
    data = contain(
        [
            ("10.JPG", picture()),
            ("2.jpg", picture()),
            ("photos/of me/1.PNG", picture("PNG")),
            ("photos/notes.txt", b"hello"),
            ("__MACOSX/._2.jpg", b"resource fork"),
            (".DS_Store", b"finder"),
            ("./3.webp", picture("WEBP")),
            (".thumbnails/2.jpg", picture()),
        ]
    )
    photos = read_photos(data, on_skipped=lines.append)
    assert [photo.name for photo in photos] == ["2.jpg", "3.webp", "10.JPG", "photos/of me/1.PNG"]
    assert {photo.image.mode for photo in photos} == {"RGB"}
    assert {photo.image.size for photo in photos} == {(64, 48)}
    assert lines == ["skipped: photos/notes.txt is not an image in a supported format."]


@in_every_container
def test_long_and_foreign_names(contain):
    name = "Föhr/" + "ferien-" * 12 + "日本.jpg"
    if contain is CONTAINERS["ustar"]:
        name = "Foehr/" + "ferien-" * 12 + ".jpg"
    assert names(contain([(name, picture())])) == [name]


def test_control_characters_do_not_reach_messages():
    lines: list[str] = []
    data = zipped([("a\x1b[31m\n.txt", b"x"), ("ok\u202e.jpg", picture())])
    assert [photo.name for photo in read_photos(data, on_skipped=lines.append)] == ["ok?.jpg"]
    assert lines == ["skipped: a?[31m?.txt is not an image in a supported format."]


def test_names_are_never_paths():
    assert len(names(zipped([("../../etc/passwd", picture()), ("/abs.jpg", picture()), ("C:\\x.jpg", picture())]))) == 3


def test_a_file_without_a_name():
    assert names(zipped([("QQQQ", picture())]).replace(b"QQQQ", bytes(4))) == ["A nameless file"]


def test_duplicate_names_are_two_photos():
    photos = read_photos(zipped([("a.jpg", picture(color=RED)), ("a.jpg", picture(color=BLUE))]))
    assert close(photos[0].image, (9, 9), RED)
    assert close(photos[1].image, (9, 9), BLUE)


def test_content_counts_and_endings_do_not():
    assert names(zipped([("a.txt", picture("PNG")), ("b", picture("GIF"))])) == ["a.txt", "b"]
    with pytest.raises(TooFewPhotosError):
        read_photos(zipped([("a.jpg", b"text")]))


def test_a_single_image_is_one_photo():
    [photo] = read_photos(picture())
    assert (photo.name, photo.image.size) == ("image", (64, 48))


def test_thirty_photos_are_fine_and_the_count_is_bounded():
    assert len(read_photos(zipped((f"{index}.jpg", picture()) for index in range(30)))) == 30
    with pytest.raises(TooManyPhotosError) as caught:
        read_photos(zipped((f"{index}.jpg", picture()) for index in range(MAX_PHOTOS + 1)))
    assert caught.value.context["max_count"] == MAX_PHOTOS


@in_every_container
def test_an_archive_without_photos(contain):
    for files in ([], [("notes.txt", b"hello")], [("__MACOSX/._a.jpg", picture())]):
        with pytest.raises(TooFewPhotosError) as caught:
            read_photos(contain(files))
        assert caught.value.field == "image_archive_url"
        assert caught.value.context["provided_count"] == 0


def test_archives_inside_archives_are_not_opened():
    lines: list[str] = []
    with pytest.raises(TooFewPhotosError):
        read_photos(zipped([("inner.zip", zipped([("a.jpg", picture())]))]), on_skipped=lines.append)
    assert lines == ["skipped: inner.zip is not an image in a supported format."]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello", "not an archive"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\n <html><body>sign in", "web page"),
        (b"%PDF-1.7\n", "not an archive"),
        (b"Rar!\x1a\x07\x01\x00", "not an archive"),
        (b"7z\xbc\xaf\x27\x1c", "not an archive"),
        (b"\xfd7zXZ\0", "not an archive"),
        (gzip.compress(b"no tar at all" * 99), "not a tar archive"),
        (b"\x1f\x8b\x08", "damaged"),
        (b"BZh9", "damaged"),
        (b"PK\3\4", "damaged"),
    ],
)
def test_what_is_no_archive(data, word):
    with pytest.raises(InvalidArchiveError, match=word) as caught:
        read_photos(data)
    assert "tar.gz" in caught.value.context["supported_extensions"]


# Damage and bad intent


def test_an_encrypted_zip_asks_for_one_without_a_password():
    data = bytearray(zipped([("a.jpg", picture())]))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(InvalidArchiveError, match="password"):
        read_photos(bytes(data))


@in_every_container
def test_an_archive_cut_short(contain):
    data = contain([("a.jpg", picture(size=(640, 480))), ("b.jpg", picture(size=(640, 480)))])
    with pytest.raises(InvalidArchiveError):
        read_photos(data[: len(data) // 3])


def test_a_damaged_photo_beside_good_ones_is_skipped():
    lines: list[str] = []
    data = bytearray(zipped([("bad.jpg", picture()), ("cut.jpg", picture()[:400]), ("good.jpg", picture())]))
    data[data.index(b"\xff\xd8") + 300] ^= 0xFF  # its checksum no longer fits
    assert [photo.name for photo in read_photos(bytes(data), on_skipped=lines.append)] == ["good.jpg"]
    assert [line.partition(" cannot be read. ")[0] for line in lines] == ["skipped: bad.jpg", "skipped: cut.jpg"]


def test_only_unusable_photos_say_what_is_wrong_with_the_first():
    with pytest.raises(ImageTooSmallError, match=r"tiny\.png is 8 by 8"):
        read_photos(zipped([("tiny.png", picture("PNG", (8, 8)))]))
    with pytest.raises(ImageLoadError, match=r"cut\.jpg"):
        read_photos(zipped([("cut.jpg", picture()[:400])]))


@in_every_container
def test_what_an_archive_expands_to_is_counted_while_reading(contain, monkeypatch):
    monkeypatch.setattr(containers, "MAX_EXPANDED_BYTES", 100_000)
    noise = picture("BMP", (100, 100))
    assert len(read_photos(contain([("a.bmp", noise), ("b.bmp", noise)]))) == 2
    with pytest.raises(FileTooLargeError) as caught:
        read_photos(contain((f"{index}.bmp", noise) for index in range(4)))
    assert caught.value.context["max_size"] == 100_000


@in_every_container
def test_one_file_that_expands_too_far(contain, monkeypatch):
    monkeypatch.setattr(archive, "MAX_PHOTO_BYTES", 20_000)
    with pytest.raises(FileTooLargeError, match=r"big\.bmp expands"):
        read_photos(contain([("small.jpg", picture()), ("big.bmp", picture("BMP", (100, 100)))]))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2"])
def test_a_bomb_in_a_tar_is_cut_off(mode, monkeypatch):
    monkeypatch.setattr(containers, "MAX_EXPANDED_BYTES", 10_000_000)
    with pytest.raises(FileTooLargeError):
        read_photos(tarred([("zeros.bin", bytes(20_000_000)), ("a.jpg", picture())], mode))


def test_sizes_in_zip_headers_are_not_believed():
    data = bytearray(zipped([("a.bmp", picture("BMP", (500, 500)))], zipfile.ZIP_DEFLATED))
    directory = data.index(b"PK\1\2")
    for position in (22, directory + 24):  # uncompressed size
        struct.pack_into("<I", data, position, 100)
    with pytest.raises(ImageLoadError):
        read_photos(bytes(data))
    for position in (22, directory + 24):
        struct.pack_into("<I", data, position, 0xFFFF_FFFE)
    assert len(names(bytes(data))) <= 1


def test_overlapping_zip_entries_count_every_time(monkeypatch):
    monkeypatch.setattr(containers, "MAX_EXPANDED_BYTES", 500_000)
    single = zipped([("a.bmp", picture("BMP", (200, 200)))], zipfile.ZIP_DEFLATED)
    start, end = single.index(b"PK\1\2"), single.index(b"PK\5\6")
    entry, count = single[start:end], 40
    tail = bytearray(single[end:])
    struct.pack_into("<HHI", tail, 8, count, count, len(entry) * count)
    with pytest.raises(FileTooLargeError):
        read_photos(single[:start] + entry * count + bytes(tail))


@pytest.mark.parametrize("contain", [zipped, tarred])
def test_entries_are_counted(contain, monkeypatch):
    monkeypatch.setattr(containers, "MAX_ENTRIES", 20)
    with pytest.raises(InvalidArchiveError, match="entries"):
        read_photos(contain((f"{index}.txt", b"") for index in range(21)))


def test_a_directory_of_millions_is_refused_before_it_is_parsed():
    start = time.process_time()
    with pytest.raises(InvalidArchiveError, match="entries"):
        read_photos(b"PK\3\4" + (b"PK\1\2" + bytes(42)) * 500_000 + b"PK\5\6" + bytes(18))
    assert time.process_time() - start < 2


def test_reading_has_an_end(monkeypatch):
    monkeypatch.setattr(containers, "MAX_READING_SECONDS", -1.0)
    with pytest.raises(InvalidArchiveError, match="too long"):
        read_photos(zipped([("a.jpg", picture())]))


def test_links_and_devices_in_a_tar_are_ignored():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as writer:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(f"{kind!r}.jpg")
            entry.type, entry.linkname = kind, "/etc/passwd"
            writer.addfile(entry)
        entry = tarfile.TarInfo("real.jpg")
        entry.size = len(picture())
        writer.addfile(entry, io.BytesIO(picture()))
    assert names(file.getvalue()) == ["real.jpg"]


def extended(body: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, len(body)
    return header.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


@pytest.mark.parametrize(
    "headers",
    [
        extended(b"1" * 60_000) * 20,  # hours, to an expression that backtracks
        extended(b"\n" * 5_000_000),
        extended(b"9 path=a\n") * 1500,  # a recursive reader gives up here
        extended(b"x" * 3_000_000, tarfile.GNUTYPE_LONGNAME),
    ],
    ids=["digits", "lines", "chain", "long name"],
)
def test_extended_tar_headers_cost_nothing(headers):
    start = time.process_time()
    assert len(names(headers + tarred([("a.jpg", picture())]))) == 1
    assert time.process_time() - start < 3


def test_a_negative_size_in_a_tar():
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(InvalidArchiveError):
        read_photos(bytes(header) + bytes(1024))


# One picture


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_every_supported_format(kind):
    image = read_image(picture(kind))
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert close(image, (30, 20), RED)


UPRIGHT = {
    1: ((16, 24), (48, 24)),
    2: ((48, 24), (16, 24)),
    3: ((48, 24), (16, 24)),
    4: ((16, 24), (48, 24)),
    5: ((24, 16), (24, 48)),
    6: ((24, 16), (24, 48)),
    7: ((24, 48), (24, 16)),
    8: ((24, 48), (24, 16)),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind == "JPEG" else {}
    image = read_image(saved(halves(), kind, exif=exif, **options))
    red, blue = UPRIGHT[orientation]
    assert image.size == ((48, 64) if orientation > 4 else (64, 48))
    assert close(image, red, RED)
    assert close(image, blue, BLUE)
    assert not image.getexif()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_pictures_are_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(saved(halves((128, 96)), "HEIF", exif=exif.tobytes(), quality=95))
    (x, y), _ = UPRIGHT[orientation]
    assert image.size == ((96, 128) if orientation > 4 else (128, 96))
    assert close(image, (2 * x, 2 * y), (254, 0, 0))


def test_large_jpegs_are_upright_after_reduced_decoding():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(saved(halves((4000, 3000)), "JPEG", exif=exif))
    assert image.size == (1152, MAX_PHOTO_SIDE)
    assert close(image, (500, 100), RED)


def test_damaged_exif_is_no_obstacle():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\x00\x03\xff\xff\xff\xff\xff\xff\xff\xff" * 9
    assert read_image(picture("JPEG", exif=exif)).size == (64, 48)
    assert read_image(picture("JPEG", exif=b"Exif\0\0garbage")).size == (64, 48)


def test_cmyk_as_adobe_writes_it():
    assert close(read_image(picture(mode="CMYK", color=(0, 255, 255, 0))), (9, 9), RED)


@pytest.mark.parametrize("mode", ["L", "1", "P", "I;16", "I", "F"])
def test_grey_and_palette_pictures(mode):
    if mode in ("I;16", "I", "F"):
        depth = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        white = 1.0 if mode == "F" else 65535
        data = saved(Image.fromarray((np.linspace(0, 1, 64 * 48).reshape(48, 64) * white).astype(depth)), "TIFF")
        expected = (128, 128, 128)
    else:
        data = saved(Image.new("L", (64, 48), 255).convert(mode))
        expected = WHITE
    assert close(read_image(data), (32, 24), expected)


def test_sixteen_bit_png():
    grey = Image.fromarray(np.full((48, 64), 40_000, np.uint16))
    assert close(read_image(saved(grey)), (9, 9), (155, 155, 155))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_transparency_lies_on_white(kind):
    image = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 32, 48))
    opaque = read_image(saved(image, kind))
    assert close(opaque, (10, 20), BLUE)
    assert close(opaque, (60, 20), WHITE)


def test_transparency_by_colour_and_by_palette():
    assert close(read_image(saved(halves(), transparency=RED)), (10, 20), WHITE)
    palette = halves().quantize(2)
    data = saved(palette, transparency=bytes([0, 128]))  # one entry transparent, the other half so
    assert read_image(data).mode == "RGB"
    assert close(read_image(saved(Image.new("LA", (64, 48), (0, 0)))), (9, 9), WHITE)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (64, 48), color) for color in (GREEN, BLUE, RED)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert close(read_image(data), (9, 9), GREEN)


def test_pictures_of_two_lenses_give_the_first():
    data = saved(halves((128, 96)), "MPO", save_all=True, append_images=[Image.new("RGB", (128, 96), GREEN)])
    assert close(read_image(data), (30, 40), RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_long_sides_shrink_and_short_ones_stay(kind):
    assert read_image(picture(kind, (4000, 3000))).size == (MAX_PHOTO_SIDE, MAX_PHOTO_SIDE * 3 // 4)
    assert read_image(picture(kind, (100, 4000)), max_side=1000).size == (25, 1000)
    assert read_image(picture(kind, (300, 200)), max_side=1000).size == (300, 200)
    assert read_image(picture(kind, (300, 200)), max_side=150).size == (150, 100)


def test_reduced_decoding_agrees_with_full_decoding():
    shapes = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    full = Image.fromarray(shapes).resize((4000, 3000), Image.Resampling.BICUBIC)
    ours = np.asarray(read_image(saved(full, "JPEG", quality=95)), dtype=np.float32)
    plain = np.asarray(full.resize((1536, 1152), Image.Resampling.LANCZOS), dtype=np.float32)
    assert np.abs(ours - plain).mean() < 1.5


def test_pixels_are_bounded_before_decoding(monkeypatch):
    with pytest.raises(ImageTooLargeError) as caught:
        read_image(picture("PNG", (images.MAX_SIDE + 1, 40), mode="1", color=0), field="initial_image_url")
    assert caught.value.field == "initial_image_url"
    assert caught.value.context == {"max_height": images.MAX_SIDE, "max_width": images.MAX_SIDE}
    bomb = bytearray(picture("PNG", (64, 48)))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises((ImageTooLargeError, ImageLoadError)):
        read_image(bytes(bomb))
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(ImageTooLargeError):
        read_image(picture())


def test_a_large_image_decodes_without_a_warning():
    data = picture("JPEG", (12_000, 8_000), mode="L", color=128)
    assert read_image(data).size == (1536, 1024)


def test_a_jpeg_of_a_thousand_scans_is_refused():
    data = picture("JPEG", (64, 48), progressive=True)
    scan = data.index(b"\xff\xda")
    with pytest.raises(ImageLoadError, match="scans"):
        read_image(data[:scan] + data[scan:-2] * 60 + data[-2:])


@pytest.mark.parametrize(
    ("data", "after", "piece"),
    [(picture(), 2, b"\xff\xe5\0\2"), (picture("PNG"), 33, b"\0\0\0\0vpAg" + zlib.crc32(b"vpAg").to_bytes(4, "big"))],
    ids=["JPEG markers", "PNG chunks"],
)
def test_a_picture_of_a_million_pieces_is_given_up(data, after, piece):
    assert read_image(data[:after] + piece * 1000 + data[after:]).size == (64, 48)
    start = time.process_time()
    with pytest.raises(ImageLoadError):
        read_image(data[:after] + piece * 1_000_000 + data[after:])
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "data",
    [b"8BPS" + bytes(99), b'<?xml version="1.0"?>\n<svg width="9"/>', b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    ids=["psd", "svg", "eps"],
)
def test_other_picture_formats_are_named_as_such(data):
    with pytest.raises(UnsupportedImageFormatError) as caught:
        read_photos(data)
    assert "heic" in caught.value.context["supported_formats"]
    with pytest.raises(UnsupportedImageFormatError):
        read_image(data)


def test_no_picture_at_all():
    with pytest.raises(UnsupportedImageFormatError):
        read_image(b"hello")
    with pytest.raises(ImageLoadError):
        read_image(b"")


def test_readers_side_by_side_leave_the_warning_filters_alone():
    before = list(warnings.filters)
    data = zipped((f"{index}.jpg", picture()) for index in range(9))
    threads = [threading.Thread(target=read_photos, args=(data,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


SAMPLES = [
    *(contain([("a.jpg", picture()), ("b.png", picture("PNG"))]) for contain in CONTAINERS.values()),
    *(picture(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")),
    picture("TIFF", compression="tiff_lzw"),
    picture("JPEG", progressive=True),
]


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(
    sample=st.sampled_from(SAMPLES),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_nothing_but_request_errors_whatever_the_bytes(sample, edits, keep):
    data = bytearray(sample)
    for place, patch in edits:
        start = int(place * len(data))
        data[start : start + len(patch)] = patch
    with suppress(RequestError):
        photos = read_photos(bytes(data[: int(keep * len(data))]))
        assert all(photo.image.mode == "RGB" for photo in photos)
