"""ID photos as the ID encoder takes them."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from training.models import PHOTO_SIDE

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def photo_pixels(pictures: np.ndarray) -> Tensor:
    """Pictures [n, h, w, 3] in bytes → what the product's CLIP preprocessing gives, [n, 3, side, side]."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    small = F.interpolate(pixels, size=(PHOTO_SIDE, PHOTO_SIDE), mode="bicubic", antialias=True)
    return (small.round().clamp(0, 255) / 255 - MEAN) / DEVIATION


def disturbed(pixels: Tensor, rng: random.Random) -> Tensor:
    """Photos a little moved, turned, nearer or farther, and re-lit: people's are not as still as the training set's."""
    count = len(pixels)
    turned, near = torch.empty(count).uniform_(-0.05, 0.05), torch.empty(count).uniform_(0.96, 1.04)
    across, down = near * turned.cos(), near * turned.sin()
    moved = torch.tensor([rng.randint(-2, 2), rng.randint(-2, 2)]) * 2 / pixels.shape[-1]
    rows = (
        torch.stack([across, -down, moved[0].expand(count)], 1),
        torch.stack([down, across, moved[1].expand(count)], 1),
    )
    places = F.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, places, padding_mode="border", align_corners=False)
    gain = 1 + 0.2 * (torch.rand(count, 1, 1, 1) - 0.5)
    return pixels * gain + 0.2 * (torch.rand(count, 3, 1, 1) - 0.5)
