"""Stage `judge`: an independent network that reads a picture's attributes, to measure likeness with.

It is trained on renders only and has no part in the checkpoint.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.attributes import ALL_CLASSES, train_to_name_attributes
from training.device import DEVICE
from training.loop import Schedule

JUDGE_FILE = Path(__file__).parents[1] / "benchmarks" / "nano_judge.safetensors"
SCHEDULE = Schedule(steps=700, rate=2e-3, flat=0.2, average_over=100, seed=6)


class Judge(nn.Module):
    """A small convolutional network from a picture to the attributes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((3, 32, 48, 96, 128)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        outputs = sum(len(values) for values in ALL_CLASSES.values())
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 256), nn.SiLU())
        self.head = nn.Linear(256, outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels as the ID encoder takes them, [n, 3, 64, 64] → scores of all classes, [n, classes]."""
        return self.head(self.body(pixels))


def softened(pixels: Tensor, rng: random.Random) -> Tensor:
    """Blurred and noisy now and then: the judge must read soft pictures as well as crisp ones."""
    if rng.random() < 0.5:
        small = F.interpolate(pixels, scale_factor=1 / rng.choice((1.5, 2.0)), mode="area")
        pixels = F.interpolate(small, size=pixels.shape[-2:], mode="bilinear")
    return pixels + 0.15 * rng.random() * torch.randn_like(pixels)


def train_judge() -> None:
    """Train it and say how well it reads people it never saw."""
    torch.manual_seed(6)
    judge = Judge().to(DEVICE)

    def save() -> None:
        save_file({name: value.half() for name, value in judge.state_dict().items()}, JUDGE_FILE)

    train_to_name_attributes("judge", judge, judge, SCHEDULE, ALL_CLASSES, save, disturb=softened)


def load_judge() -> Judge:
    """The trained judge, in float32."""
    judge = Judge()
    judge.load_state_dict({name: value.float() for name, value in load_file(JUDGE_FILE).items()})
    return judge.eval()
