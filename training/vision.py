"""Stage `vision`: teach the ID encoder's vision tower what distinguishes people, before it learns to draw them."""

from __future__ import annotations

import torch
from torch import nn

from training.attributes import IDENTITY_CLASSES, train_to_name_attributes
from training.device import DEVICE
from training.loop import Schedule
from training.models import TEXT_WIDTH, VISION_FILE, new_id_encoder

SCHEDULE = Schedule(steps=600, rate=1e-3, flat=0.2, average_over=100, seed=5)


def train_vision() -> None:
    """Name the attributes from the ID embedding; the layer that names them is then thrown away."""
    torch.manual_seed(5)
    encoder = new_id_encoder().to(DEVICE)
    head = nn.Linear(2 * TEXT_WIDTH, sum(len(values) for values in IDENTITY_CLASSES.values())).to(DEVICE)
    train_to_name_attributes(
        "vision",
        nn.ModuleList([encoder, head]),
        lambda pixels: head(encoder.embed(pixels)),
        SCHEDULE,
        IDENTITY_CLASSES,
        lambda: torch.save(encoder.state_dict(), VISION_FILE),
    )
