"""Archives and pictures as callers send them, and as nobody should."""

import gzip
import io
import itertools
import struct
import sys
import tarfile
import zipfile
from contextlib import contextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photomaker.errors import (
    FileTooLargeError,
    ImageLoadError,
    ImageTooSmallError,
    InvalidArchiveError,
    RequestError,
    TooFewPhotosError,
    TooManyPhotosError,
)
from photomaker.photos import archive, meter
from photomaker.photos.archive import MAX_PHOTOS, Skipped, read_photos
from tests.photos.samples import BLUE, CONTAINERS, RED, close, in_every_container, picture, tarred, zipped


def names(data: bytes) -> list[str]:
    return [photo.name for photo in read_photos(data)]


# Containers


@in_every_container
def test_photos_come_in_natural_order_from_any_container(contain):
    skipped: list[Skipped] = []
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
    photos = read_photos(data, on_skipped=skipped.append)
    assert [photo.name for photo in photos] == ["2.jpg", "3.webp", "10.JPG", "photos/of me/1.PNG"]
    assert {photo.image.mode for photo in photos} == {"RGB"}
    assert {photo.image.size for photo in photos} == {(64, 48)}
    assert skipped == [Skipped("photos/notes.txt", "photos/notes.txt is not an image in a supported format.")]


@in_every_container
def test_long_and_foreign_names(contain):
    name = "Föhr/" + "ferien-" * 12 + "日本.jpg"
    if contain is CONTAINERS["ustar"]:
        name = "Foehr/" + "ferien-" * 12 + ".jpg"
    assert names(contain([(name, picture())])) == [name]


def test_control_characters_do_not_reach_messages():
    skipped: list[Skipped] = []
    data = zipped([("a\x1b[31m\n.txt", b"x"), ("ok\u202e.jpg", picture())])
    assert [photo.name for photo in read_photos(data, on_skipped=skipped.append)] == ["ok?.jpg"]
    assert skipped == [Skipped("a?[31m?.txt", "a?[31m?.txt is not an image in a supported format.")]


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
    skipped: list[Skipped] = []
    with pytest.raises(TooFewPhotosError):
        read_photos(zipped([("inner.zip", zipped([("a.jpg", picture())]))]), on_skipped=skipped.append)
    assert skipped == [Skipped("inner.zip", "inner.zip is not an image in a supported format.")]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello", "not an archive"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\n <html><body>sign in", "web page"),
        (b"%PDF-1.7\n", "not an archive"),
        (b"Rar!\x1a\x07\x01\x00", "RAR"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"\xfd7zXZ\0", "xz"),
        (gzip.compress(b"no tar at all" * 99, mtime=0), "neither a tar archive nor a picture"),
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
    skipped: list[Skipped] = []
    data = bytearray(zipped([("bad.jpg", picture()), ("cut.jpg", picture()[:400]), ("good.jpg", picture())]))
    data[data.index(b"\xff\xd8") + 300] ^= 0xFF  # its checksum no longer fits
    assert [photo.name for photo in read_photos(bytes(data), on_skipped=skipped.append)] == ["good.jpg"]
    assert [one.name for one in skipped] == ["bad.jpg", "cut.jpg"]
    assert all(one.reason.startswith(f"{one.name} cannot be read. ") for one in skipped)


def test_only_unusable_photos_say_what_is_wrong_with_the_first():
    with pytest.raises(ImageTooSmallError, match=r"tiny\.png is 8 by 8"):
        read_photos(zipped([("tiny.png", picture("PNG", (8, 8)))]))
    with pytest.raises(ImageLoadError, match=r"cut\.jpg"):
        read_photos(zipped([("cut.jpg", picture()[:400])]))


@in_every_container
def test_what_an_archive_expands_to_is_counted_while_reading(contain, monkeypatch):
    monkeypatch.setattr(meter, "MAX_EXPANDED_BYTES", 100_000)
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
    monkeypatch.setattr(meter, "MAX_EXPANDED_BYTES", 10_000_000)
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
    monkeypatch.setattr(meter, "MAX_EXPANDED_BYTES", 500_000)
    single = zipped([("a.bmp", picture("BMP", (200, 200)))], zipfile.ZIP_DEFLATED)
    start, end = single.index(b"PK\1\2"), single.index(b"PK\5\6")
    entry, count = single[start:end], 40
    tail = bytearray(single[end:])
    struct.pack_into("<HHI", tail, 8, count, count, len(entry) * count)
    with pytest.raises(FileTooLargeError):
        read_photos(single[:start] + entry * count + bytes(tail))


@pytest.mark.parametrize("contain", [zipped, tarred])
def test_entries_are_counted(contain, monkeypatch):
    monkeypatch.setattr(meter, "MAX_ENTRIES", 20)
    with pytest.raises(InvalidArchiveError, match="entries"):
        read_photos(contain((f"{index}.txt", b"") for index in range(21)))


@contextmanager
def few_calls(limit):
    """Ends whatever calls functions, Python's own or C's, more often than this: work, whatever the machine's speed."""
    counted = itertools.count(1)

    def count(_frame, event, _argument):
        if event in ("call", "c_call") and next(counted) > limit:
            sys.setprofile(None)
            pytest.fail(f"more than {limit} calls")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


def test_a_directory_of_millions_is_refused_before_it_is_parsed():
    data = b"PK\3\4" + (b"PK\1\2" + bytes(42)) * 500_000 + b"PK\5\6" + bytes(18)
    with few_calls(20_000), pytest.raises(InvalidArchiveError, match="entries"):
        read_photos(data)


def test_reading_has_an_end(monkeypatch):
    monkeypatch.setattr(meter, "MAX_READING_SECONDS", -1.0)
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
    data = headers + tarred([("a.jpg", picture())])
    with few_calls(400_000):
        assert len(names(data)) == 1


def test_a_negative_size_in_a_tar():
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(InvalidArchiveError):
        read_photos(bytes(header) + bytes(1024))


SAMPLES = [
    *(contain([("a.jpg", picture()), ("b.png", picture("PNG"))]) for contain in CONTAINERS.values()),
    *(picture(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")),
    picture("TIFF", compression="tiff_lzw"),
    picture("JPEG", progressive=True),
]


@pytest.mark.slow
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
