"""Archives packed in unusual ways, and archives made to keep their reader busy."""

import bz2
import gzip
import lzma
import struct
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest

from photomaker.errors import Cancelled, InvalidArchiveError, RequestError
from photomaker.photos import meter
from photomaker.photos.archive import Skipped, read_photos
from tests.photos.samples import picture, tarred, zipped


def names(data: bytes) -> list[str]:
    return [photo.name for photo in read_photos(data)]


def after(calls: int):
    """A caller who takes the request back when asked for the nth time."""
    asked = iter(range(calls))

    def check() -> None:
        if next(asked, None) is None:
            raise Cancelled

    return check


def with_method(data: bytes, method: int) -> bytes:
    """The zip, said to be packed by another method."""
    changed = bytearray(data)
    struct.pack_into("<H", changed, changed.index(b"PK\3\4") + 8, method)
    struct.pack_into("<H", changed, changed.index(b"PK\1\2") + 10, method)
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "LZMA"])
def test_what_python_can_expand_is_read(method):
    grain = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8).tobytes()
    bmp = picture("BMP", (900, 700))
    assert names(zipped([("2.bmp", bmp[: -len(grain)] + grain), ("1.jpg", picture())], method)) == ["1.jpg", "2.bmp"]


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (93, "Zstandard"), (98, "PPMd"), (77, "method 77")])
def test_what_cannot_be_expanded_is_named(method, name):
    skipped: list[Skipped] = []
    with pytest.raises(InvalidArchiveError, match=f"packed with {name}"):
        read_photos(with_method(zipped([("a.jpg", picture())]), method))
    mixed = with_method(zipped([("a.jpg", picture()), ("b.jpg", picture())]), method)
    assert [photo.name for photo in read_photos(mixed, on_skipped=skipped.append)] == ["b.jpg"]
    assert skipped == [Skipped("a.jpg", f"a.jpg is packed with {name}, which is not read.")]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_expands_too_far_is_cut_off(method, monkeypatch):
    monkeypatch.setattr("photomaker.photos.archive.MAX_PHOTO_BYTES", 3_000_000)
    bomb = picture("BMP") + bytes(50_000_000)
    with pytest.raises(RequestError, match="expands to more than"):
        read_photos(zipped([("a.bmp", bomb)], method))


def test_lzma_with_a_dictionary_of_gigabytes_is_not_begun():
    data = bytearray(zipped([("a.bmp", picture("BMP"))], zipfile.ZIP_LZMA))
    start = data.index(b"PK\3\4") + 30 + len("a.bmp")
    struct.pack_into("<I", data, start + 5, 0xFFFF_FFF0)
    with pytest.raises(RequestError, match=r"a\.bmp cannot be read"):
        read_photos(bytes(data))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress], ids=["gz", "bz2"])
def test_one_compressed_picture_is_one_photo(pack):
    assert names(pack(picture())) == ["image"]
    with pytest.raises(InvalidArchiveError, match="damaged"):
        read_photos(pack(picture("BMP", (400, 400)))[:-20])


def test_other_compression_is_named():
    with pytest.raises(InvalidArchiveError, match="xz"):
        read_photos(lzma.compress(tarred([("a.jpg", picture())])))


# What Python's own readers trip over


def test_an_offset_beyond_every_file():
    data = zipped([("a.jpg", picture()), ("b.jpg", picture())])
    at = data.index(b"PK\1\2")
    extra = struct.pack("<HHQ", 1, 8, 2**63 + 5)
    entry = bytearray(data[at : at + 46 + 5])
    struct.pack_into("<H", entry, 30, len(extra))
    struct.pack_into("<I", entry, 42, 0xFFFF_FFFF)
    tail = bytearray(data[at + 51 :])
    end = tail.index(b"PK\5\6")
    struct.pack_into("<I", tail, end + 12, len(data) - at - 22 + len(extra))
    assert names(data[:at] + bytes(entry) + extra + bytes(tail)) == ["b.jpg"]


@pytest.mark.parametrize("beginning", [b"", b"PK\3\4"], ids=["behind a stub", "at once"])
def test_a_locator_of_five_disks(beginning):
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 0, 5)
    with pytest.raises(InvalidArchiveError):
        read_photos((beginning or b"stub") + bytes(36) + locator + struct.pack("<4s4H2IH", b"PK\5\6", *[0] * 7))


@pytest.mark.parametrize("version", [0, 64, 255])
def test_zips_of_another_age(version):
    data = bytearray(zipped([("a.jpg", picture())]))
    data[data.index(b"PK\1\2") + 6] = version
    with pytest.raises(InvalidArchiveError, match="damaged") if version > 63 else nullcontext():
        assert names(bytes(data)) == ["a.jpg"]


def test_a_directory_with_much_behind_each_name_is_not_parsed():
    extra = struct.pack("<HH", 0xCAFE, 0) * 16_000  # which Python goes through at quadratic cost
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[20] * 2, *[0] * 4, *[0] * 3, 1, len(extra), *[0] * 3, 0, 0)
    directory = (entry + b"a" + extra) * 1000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1000, 1000, len(directory), 4, 0)
    with pytest.raises(InvalidArchiveError, match="damaged"):
        read_photos(b"PK\3\4" + directory + end, check=after(100))


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"", mtime=0) * 100_000,
        b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 1_000_000,
        bz2.compress(b"") * 100_000,
        gzip.compress(tarred((f"{index}", bytes(2000)) for index in range(1000))),
        tarred((f"{index}", bytes(2000)) for index in range(1000)),
        zipped([(f"{index}", b"x") for index in range(1000)]),
    ],
    ids=["empty gzips", "a gzip's name", "empty bzip2s", "tar.gz", "tar", "zip"],
)
def test_reading_asks_all_the_while_whether_to_go_on(data, monkeypatch):
    with pytest.raises(Cancelled):
        read_photos(data, check=after(20))
    monkeypatch.setattr(meter, "MAX_READING_SECONDS", -1.0)
    with pytest.raises(InvalidArchiveError, match="too long"):
        read_photos(data)
