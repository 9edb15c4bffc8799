"""Photos as phones write them: with films, second pictures and maps in and behind them."""

import io
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from photomaker.photos.archive import Skipped, read_photos
from photomaker.photos.images import MAX_PHOTO_SIDE, read_image
from tests.photos.samples import BLUE, GREEN, RED, close, halves, picture, saved, zipped

XMP = b"http://ns.adobe.com/xap/1.0/\0"


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def film(megabytes: int, brand: bytes = b"mp42") -> bytes:
    """An MP4 of so many megabytes, in which every two bytes occur."""
    content = np.random.default_rng(0).bytes(megabytes * 2**20)
    return box(b"ftyp", brand + bytes(4) + b"isom" + brand) + box(b"mdat", content)


def with_xmp(jpeg: bytes, xmp: str) -> bytes:
    segment = XMP + xmp.encode()
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def photo(size: tuple[int, int] = (640, 480), kind: str = "JPEG", **options: object) -> bytes:
    return saved(halves(size), kind, **options)


def is_whole(image: Image.Image) -> bool:
    """Red on the left, blue on the right."""
    width, height = image.size
    return close(image, (width // 4, height // 2), RED) and close(image, (width * 3 // 4, height // 2), BLUE)


@pytest.mark.parametrize("megabytes", [1, 8, 40])
def test_a_motion_photo_has_a_film_behind_it(megabytes):
    xmp = f'<x:xmpmeta><rdf:Description GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="{megabytes}"/></x:xmpmeta>'
    data = with_xmp(photo(), xmp) + film(megabytes)
    assert data.count(b"\xff\xda") > 5
    assert is_whole(read_image(data))
    assert is_whole(read_photos(zipped([("PXL_20240101_MP.jpg", data)]))[0].image)


def test_a_heic_motion_photo_has_a_film_in_a_box_behind_it():
    assert is_whole(read_image(photo(kind="HEIF", quality=90) + box(b"mpvd", film(4))))


def test_a_live_photo_is_a_picture_beside_a_film():
    skipped: list[Skipped] = []
    data = zipped([("IMG_1.HEIC", photo(kind="HEIF", quality=90)), ("IMG_1.MOV", film(2, b"qt  "))])
    [found] = read_photos(data, on_skipped=skipped.append)
    assert is_whole(found.image)
    assert [one.name for one in skipped] == ["IMG_1.MOV"]


def test_an_ultra_hdr_photo_has_a_gain_map_behind_it():
    gain_map = saved(Image.new("L", (160, 120), 200), "JPEG")
    file = io.BytesIO()
    halves((640, 480)).save(file, "MPO", save_all=True, append_images=[Image.open(io.BytesIO(gain_map))], quality=95)
    xmp = '<x:xmpmeta><rdf:Description hdrgm:Version="1.0" Item:Semantic="GainMap"/></x:xmpmeta>'
    assert is_whole(read_image(with_xmp(file.getvalue(), xmp)))
    assert is_whole(read_image(with_xmp(photo(), xmp) + gain_map))  # without an index of its pictures


@pytest.mark.parametrize("kind", ["JPEG", "HEIF"])
def test_a_portrait_has_a_depth_map_in_it(kind):
    if kind == "HEIF":
        heif = pillow_heif.from_pillow(halves((640, 480)))
        heif.add_from_pillow(Image.new("L", (160, 120), 90))
        file = io.BytesIO()
        heif.save(file, quality=90, primary_index=0)
        data = file.getvalue()
    else:  # as extended XMP, in a hundred segments of 64 KB
        data = photo()
        extended = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
        for part in range(100):
            segment = extended + struct.pack(">II", 6_500_000, part * 65_000) + b"A" * 65_000
            data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    assert is_whole(read_image(data))


@pytest.mark.parametrize("first", [0, 2])
def test_a_burst_gives_the_picture_its_owner_chose(first):
    burst = pillow_heif.HeifFile()
    for index in range(4):
        burst.add_from_pillow(halves((640, 480)) if index == first else Image.new("RGB", (640, 480), GREEN))
    file = io.BytesIO()
    burst.save(file, quality=90, primary_index=first)
    assert is_whole(read_image(file.getvalue()))


def test_two_lenses_give_two_pictures_and_the_first_is_taken():
    pair = [Image.new("RGB", (640, 480), GREEN)]
    assert is_whole(read_image(photo(kind="MPO", save_all=True, append_images=pair)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        pytest.param("JPEG", {"progressive": True}, marks=pytest.mark.slow),
        pytest.param("PNG", {"compress_level": 1}, marks=pytest.mark.slow),
    ],
    ids=["JPEG", "progressive JPEG", "PNG"],
)
def test_an_original_of_200_megapixels(kind, options):
    image = read_image(photo((16_320, 12_240), kind, **options))
    assert image.size == (MAX_PHOTO_SIDE, 1152)
    assert is_whole(image)


def test_ten_bit_pictures():
    grey = np.zeros((480, 640, 3), np.uint16)
    grey[:, :320, 0] = grey[:, 320:, 2] = 65535
    heif = pillow_heif.from_bytes("RGB;16", (640, 480), grey.tobytes())
    file = io.BytesIO()
    heif.save(file, quality=90)
    assert is_whole(read_image(file.getvalue()))


def test_sloppy_ends_are_no_damage():
    for rest in (b"\0" * 100, picture("PNG"), b"SEFH" + bytes(60) + b"SEFT"):
        assert is_whole(read_image(photo() + rest))
