"""Single pictures as callers send them, and as nobody should."""

import struct

import numpy as np
import pytest
from PIL import Image

from photomaker.errors import ImageLoadError, ImageTooLargeError, UnsupportedImageFormatError
from photomaker.photos.archive import read_photos
from photomaker.photos.formats import MAX_SIDE
from photomaker.photos.images import MAX_PHOTO_SIDE, read_image
from tests.photos.samples import BLUE, GREEN, RED, WHITE, close, halves, picture, saved


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


def test_pixels_are_bounded_before_decoding():
    with pytest.raises(ImageTooLargeError) as caught:
        read_image(picture("PNG", (MAX_SIDE + 1, 40), mode="1", color=0), field="initial_image_url")
    assert caught.value.field == "initial_image_url"
    assert caught.value.context == {"max_height": MAX_SIDE, "max_width": MAX_SIDE}
    bomb = bytearray(picture("PNG", (64, 48)))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises((ImageTooLargeError, ImageLoadError)):
        read_image(bytes(bomb))


def test_a_large_image_decodes_without_a_warning():
    data = picture("JPEG", (12_000, 8_000), mode="L", color=128)
    assert read_image(data).size == (1536, 1024)


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
