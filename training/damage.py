"""Ways in which a generated picture goes wrong, done to clean ones: blurs, smears, ghosts, crooked lines, stains."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of pictures [n, channels, h, w]; sigma in pixels."""
    reach = max(1, int(3 * sigma + 0.5))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = line / line.sum()
    channels = picture.shape[1]
    padded = F.pad(picture, (reach,) * 4, mode="reflect")
    across = F.conv2d(padded, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def waves(picture: Tensor, channels: int, cells: int) -> Tensor:
    """Smooth noise of the picture's size, [1, channels, h, w], about `cells` hills across."""
    return F.interpolate(torch.randn(1, channels, cells, cells), size=picture.shape[-2:], mode="bicubic")


def somewhere(clean: Tensor, damaged: Tensor, rng: random.Random) -> Tensor:
    """The damage in patches that cover a fifth to a half of the picture, and in the middle of it for sure."""
    hills = waves(clean, 1, rng.randint(4, 8))
    hills[..., clean.shape[-2] // 3 : clean.shape[-2] * 2 // 3, clean.shape[-1] // 3 : clean.shape[-1] * 2 // 3] += 0.7
    mask = torch.sigmoid(6 * (hills - torch.quantile(hills, rng.uniform(0.5, 0.8))))
    return clean + mask * (damaged - clean)


def blur(clean: Tensor, other: Tensor, rng: random.Random) -> Tensor:
    return blurred(clean, rng.uniform(0.8, 2.0))


def smear(clean: Tensor, other: Tensor, rng: random.Random) -> Tensor:
    return somewhere(clean, blurred(clean, rng.uniform(1.3, 3.0)), rng)


def ghost(clean: Tensor, other: Tensor, rng: random.Random) -> Tensor:
    return somewhere(clean, torch.lerp(clean, other, rng.uniform(0.35, 0.5)), rng)


def wobble(clean: Tensor, other: Tensor, rng: random.Random) -> Tensor:
    """Lines that are not where they should be."""
    height, width = clean.shape[-2:]
    shift = waves(clean, 2, rng.randint(10, 18)).permute(0, 2, 3, 1) * rng.uniform(0.8, 1.8) * 2 / width
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grid = torch.stack([columns, rows], -1)[None] + shift
    return F.grid_sample(clean, grid, padding_mode="reflection", align_corners=True)


def coarse(clean: Tensor, other: Tensor, rng: random.Random) -> Tensor:
    small = F.interpolate(clean, scale_factor=1 / rng.uniform(1.6, 3), mode="area")
    return F.interpolate(small, size=clean.shape[-2:], mode="bicubic")


def stain(clean: Tensor, other: Tensor, rng: random.Random) -> Tensor:
    stained = blurred(clean, 1.0) + rng.uniform(0.15, 0.35) * waves(clean, 3, rng.randint(6, 12))
    return somewhere(clean, stained, rng)


DAMAGES: tuple[Callable[[Tensor, Tensor, random.Random], Tensor], ...] = (blur, smear, ghost, wobble, coarse, stain)


def damaged(clean: Tensor, other: Tensor, rng: random.Random) -> Tensor:
    """One picture [1, 3, h, w] from -1 to 1 with one or two damages; `other` is another photo of the person."""
    for damage in rng.sample(DAMAGES, rng.choice((1, 1, 2))):
        clean = damage(clean, other, rng)
    return clean.clamp(-1, 1)


def unharmed(clean: Tensor, rng: random.Random) -> Tensor:
    """What nobody sees: light a little different, a trace of noise, edges a third of a pixel softer."""
    if rng.random() < 0.5:
        clean = blurred(clean, rng.uniform(0.2, 0.4))
    return (clean * rng.uniform(0.97, 1.03) + rng.uniform(0, 0.015) * torch.randn_like(clean)).clamp(-1, 1)
