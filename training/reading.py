"""Stage `reader`: a network that reads attributes off latents, so that the base can be told what it drew wrongly.

An iris is a few numbers of a latent: the denoising loss hardly notices its colour, and the reader does.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from training.attributes import ALL_CLASSES, UNSEEN, labels, predictions
from training.autoencoder import HELD_OUT_PICTURES, LATENT_CHANNELS, LATENTS_FILE
from training.device import DEVICE, half_precision
from training.looks import LORA_STYLE
from training.loop import Group, Schedule, train
from training.pictures import TOTAL, WORK, describe

READER_FILE = WORK / "reader.pt"
SCHEDULE = Schedule(steps=1200, rate=1.5e-3, flat=0.3, average_over=100, seed=8)
BATCH = 64
UNREADABLE = ("blurry", LORA_STYLE)


class LatentReader(nn.Module):
    """A small convolutional network from latents to the scores of all classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, 64, 3, 1, 1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv2d(64, 96, 3, 2, 1),
            nn.GroupNorm(8, 96),
            nn.SiLU(),
            nn.Conv2d(96, 128, 3, 2, 1),
            nn.GroupNorm(8, 128),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128 * 16, 192),
            nn.SiLU(),
        )
        self.head = nn.Linear(192, sum(len(values) for values in ALL_CLASSES.values()))

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [n, channels, side, side] → scores [n, classes]."""
        return self.head(self.body(latents))


def wanted_labels(chosen: Sequence[int]) -> Tensor:
    """The classes of pictures of the training set, [n, attributes]; of blurred ones nothing counts."""
    rows = []
    for index in chosen:
        identity, photo, style = describe(index)
        row = labels(identity, photo, ALL_CLASSES)
        rows.append([UNSEEN] * len(row) if style in UNREADABLE else row)
    return torch.tensor(rows)


def misread(scores: Tensor, wanted: Tensor, emphasis: Mapping[str, float]) -> Tensor:
    """Every picture's cross entropies, summed over the attributes that count, some more than once, [n]."""
    parts = scores.split([len(values) for values in ALL_CLASSES.values()], 1)
    columns = zip(parts, wanted.to(scores.device).unbind(1), strict=True)
    losses = [F.cross_entropy(part, column, ignore_index=UNSEEN, reduction="none") for part, column in columns]
    weights = torch.tensor([emphasis.get(name, 1.0) for name in ALL_CLASSES], device=scores.device)
    return weights @ torch.stack(losses)


def train_reader() -> None:
    """Train it and say how well it reads pictures kept from it."""
    torch.manual_seed(8)
    reader = LatentReader().to(DEVICE)
    latents = torch.load(LATENTS_FILE, weights_only=True)

    def loss_at(step: int) -> Tensor:
        rng = random.Random(step)
        chosen = [rng.randrange(TOTAL - HELD_OUT_PICTURES) for _ in range(BATCH)]
        given = latents[chosen].float().to(DEVICE)
        given = given + rng.choice((0.05, 0.2, 0.4)) * torch.randn_like(given)
        with half_precision():
            scores = reader(given).float()
        return misread(scores, wanted_labels(chosen), emphasis={}).mean()

    train(
        "reader",
        [Group(list(reader.parameters()))],
        SCHEDULE,
        loss_at,
        lambda: torch.save(reader.state_dict(), READER_FILE),
    )
    kept = range(TOTAL - HELD_OUT_PICTURES, TOTAL)
    with torch.no_grad():
        scores = reader(latents[list(kept)].float().to(DEVICE)).cpu()
    wanted = wanted_labels(kept)
    for column, (name, guess) in enumerate(predictions(scores, ALL_CLASSES).items()):
        seen = wanted[:, column] != UNSEEN
        print(f"reader: {name} {(guess == wanted[:, column])[seen].float().mean():.3f}", flush=True)


def load_reader() -> LatentReader:
    """The trained reader, frozen."""
    reader = LatentReader().to(DEVICE)
    reader.load_state_dict(torch.load(READER_FILE, map_location=DEVICE, weights_only=True))
    return reader.requires_grad_(False).eval()
