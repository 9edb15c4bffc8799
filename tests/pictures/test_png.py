"""Pictures on their way out."""

import io

import numpy as np
import pytest
from PIL import Image

from photomaker.pictures.png import encode_png
from tests.assets import photo


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 7), (65, 33)])
def test_every_pixel_comes_back(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    with Image.open(io.BytesIO(encode_png(Image.fromarray(pixels)))) as decoded:
        assert decoded.format == "PNG"
        assert decoded.mode == "RGB"
        assert np.array_equal(np.asarray(decoded), pixels)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "flat"])
def test_no_larger_than_what_fals_toolkit_sends(name: str) -> None:
    picture = Image.new("RGB", (512, 512), "teal") if name == "flat" else photo(name)
    theirs = io.BytesIO()
    picture.save(theirs, "PNG", compress_level=1)
    assert len(encode_png(picture)) <= len(theirs.getvalue())
