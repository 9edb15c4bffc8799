"""Stage `smears`: a network that tells clean pictures from smeared ones, to measure with.

It sees renders, and the same after damages that a person notices (`damage.py`); no autoencoder, so that it favours
none. It has no part in the checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.autoencoder import to_tensor
from training.avatar import render
from training.damage import damaged, unharmed
from training.identity import HELD_OUT, draw_identity, draw_photo
from training.loop import Group, Schedule, train

SMEARS_FILE = Path(__file__).parents[1] / "benchmarks" / "nano_smears.safetensors"
SCHEDULE = Schedule(steps=900, rate=2e-3, flat=0.3, average_over=100, seed=7)
BATCH = 6
SIZES = (96, 128)
WORST = 0.1
"""The share of patches that speak for a picture: a smear is somewhere, and the rest may be flawless."""


class SmearReader(nn.Module):
    """A fully convolutional network that sees 20 pixels at a time, in pictures of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(32, 48, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(48, 64, 3, 1, 1),
            nn.LeakyReLU(0.2),
        )
        self.head = nn.Conv2d(64, 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures [n, 3, h, w] from -1 to 1 → scores [n], above zero if clean."""
        patches = self.head(self.body(pictures)).flatten(1)
        return patches.topk(int(WORST * patches.shape[1]), largest=False).values.mean(1)

    def features(self, pictures: Tensor) -> Tensor:
        """What the patches look like: means and spreads of the last layer, [n, 128]."""
        seen = self.body(pictures)
        return torch.cat([seen.mean((2, 3)), seen.std((2, 3))], 1)


def rendered(number: int, photo: int, size: int) -> Tensor:
    """A photo of an identity, [1, 3, size, size] from -1 to 1."""
    return to_tensor(np.array(render(draw_identity(number), draw_photo(number, photo), size=size))[None])


def examples(numbers: Sequence[int], size: int, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Pictures, half of them smeared, and which are clean (1 or 0)."""
    clean = [rendered(number, rng.randrange(8), size) for number in numbers]
    others = [rendered(number, 8, size) for number in numbers]
    kept = [unharmed(picture, rng) for picture in clean]
    harmed = [damaged(picture, other, rng) for picture, other in zip(clean, others, strict=True)]
    return torch.cat([*kept, *harmed]), torch.tensor([1.0] * len(kept) + [0.0] * len(harmed))


def train_smears() -> None:
    """Train it and say how well it tells pictures of people it never saw."""
    torch.manual_seed(7)
    reader = SmearReader()

    def loss_at(step: int) -> Tensor:
        rng = random.Random(step)
        pictures, clean = examples([rng.randrange(HELD_OUT) for _ in range(BATCH)], SIZES[step % 2], rng)
        return F.binary_cross_entropy_with_logits(reader(pictures), clean)

    def save() -> None:
        save_file({name: value.half() for name, value in reader.state_dict().items()}, SMEARS_FILE)

    train("smears", [Group(list(reader.parameters()))], SCHEDULE, loss_at, save)
    with torch.no_grad():
        for size in SIZES:
            pictures, clean = examples(range(HELD_OUT, HELD_OUT + 200), size, random.Random(7))
            passed = reader(pictures) > 0
            right = [f"{(passed == wanted)[clean == wanted].float().mean():.3f}" for wanted in (1, 0)]
            print(f"smears: of {size} pixels, {right[0]} of the clean and {right[1]} of the smeared told", flush=True)


def load_smear_reader() -> SmearReader:
    """The trained reader, in float32."""
    reader = SmearReader()
    reader.load_state_dict({name: value.float() for name, value in load_file(SMEARS_FILE).items()})
    return reader.eval()


def as_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    return to_tensor(np.stack([np.array(picture.convert("RGB")) for picture in pictures]))


@torch.no_grad()
def passing(reader: SmearReader, pictures: Sequence[Image.Image]) -> float:
    """The share of pictures that pass for clean renders."""
    return (reader(as_pixels(pictures)) > 0).float().mean().item()


@torch.no_grad()
def distance(reader: SmearReader, pictures: Sequence[Image.Image], renders: Sequence[Image.Image]) -> float:
    """The Fréchet distance of two sets of pictures in the reader's features: 0 for the same, the smaller the nearer."""
    ours, theirs = (reader.features(as_pixels(part)).double() for part in (pictures, renders))
    apart = (ours.mean(0) - theirs.mean(0)).square().sum()
    product = torch.linalg.eigvals(ours.T.cov() @ theirs.T.cov()).real.clamp(min=0).sqrt().sum()
    return float(apart + ours.T.cov().trace() + theirs.T.cov().trace() - 2 * product)
