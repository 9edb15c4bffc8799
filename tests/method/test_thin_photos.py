"""Photos much longer than wide, which CLIP's processor enlarges before it cuts a square out of them."""

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from photomaker import PhotoMakerPipeline
from tests.method.test_pipeline import pipe

__all__ = ["pipe"]
MIB = 1024**2


def gradient(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


@pytest.mark.parametrize("size", [(60, 1536), (1536, 32), (400, 100), (100, 401)])
def test_the_middle_is_what_clip_sees(size: tuple[int, int], pipe: PhotoMakerPipeline) -> None:
    photo = gradient(*size)
    whole = pipe.id_encoder.processor(images=photo, return_tensors="pt").pixel_values
    assert torch.allclose(pipe.id_encoder.preprocess([photo]), whole, atol=0.05)


def test_fifty_thin_photos_cost_no_gigabytes(pipe: PhotoMakerPipeline) -> None:
    photos = [gradient(32, 1536)] * 50
    tracemalloc.start()
    pixels = pipe.id_encoder.preprocess(photos)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - pixels.nbytes < 20 * MIB
