"""Stage `polish`, on request, after `warm`: the UNet further, under the shipped adapters, which stay as they are.

What is drawn with is never the base alone, but base and adapter, and all adapters are on one base. So the base learns
with each of them in place, and theirs need no training after it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.func import functional_call

from photomaker import PhotoMakerPipeline
from photomaker.method.id_encoder import IDEncoder
from training.batches import Ahead, Batch, Mixture
from training.cases import load_nano
from training.conditions import diffusion_loss
from training.device import DEVICE
from training.diffusion import SAMPLES, Pictures, rng_of
from training.export import NANO
from training.loop import Schedule, groups_of, train
from training.models import BASE_DIR, EMBEDDINGS_FILE, Base
from training.reading import load_reader

SCHEDULE = Schedule(
    steps=118_400 // SAMPLES,
    rate=7.2e-4,
    matrix_rate=6e-4,
    flat=0.4,
    save_every=100,
    average_over=300,
    seed=10,
)
SHARES = {"version 1": 0.62, "version 2": 0.26, "style": 0.12}
"""Of the steps, each under one adapter."""


class Adapted(nn.Module):
    """A network whose weights have something added, which is not trained."""

    def __init__(self, network: nn.Module, added: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network, self.added = network, added

    def forward(self, *inputs: Any, **named: Any) -> Any:
        weights = {name: weight + self.added[name] for name, weight in self.network.named_parameters()}
        return functional_call(self.network, weights, inputs, named)


@torch.no_grad()
def adapted(network: nn.Module, pipe: PhotoMakerPipeline) -> Adapted:
    """A UNet under the LoRAs of what ships as `pipe`: what they made of the shipped one's weights, less those."""
    shipped = dict(UNet2DConditionModel.from_pretrained(NANO / "base/unet").named_parameters())
    fused = pipe.text2img.unet.named_parameters()
    return Adapted(network, {name: (weight - shipped[name]).to(DEVICE) for name, weight in fused})


@dataclass
class Course:
    """The base under one of its adapters, and what it learns there."""

    base: Base
    encoder: IDEncoder
    pictures: Pictures


def course(base: Base, pipe: PhotoMakerPipeline, **of_pictures: Any) -> Course:
    """The course of what ships as `pipe`."""
    encoder, unet = pipe.id_encoder.to(DEVICE).requires_grad_(False), cast(Any, adapted(base.unet, pipe))
    mixture = Mixture(with_photos=0.65, tokens_per_photo=encoder.tokens_per_photo)
    return Course(replace(base, unet=unet), encoder, Pictures(base, SCHEDULE, mixture, **of_pictures))


def polish() -> None:
    """Train it; text encoders, ID encoders and LoRAs are frozen."""
    torch.manual_seed(10)
    base, reader = Base.load(BASE_DIR), load_reader()
    base.text_encoder.requires_grad_(False)
    base.text_encoder_2.requires_grad_(False)
    embeddings = torch.load(EMBEDDINGS_FILE, weights_only=True)
    courses = {
        "version 1": course(base, load_nano()),
        "version 2": course(base, load_nano(NANO / "v2.toml"), embeddings=embeddings),
        "style": course(base, load_nano(name="photomaker-style"), lora_style=True),
    }

    def course_at(step: int) -> Course:
        chosen = random.Random(f"course {step}").choices(list(SHARES), list(SHARES.values()))[0]
        return courses[chosen]

    def batch_at(step: int) -> Batch:
        return course_at(step).pictures.batch_at(step)

    batch = Ahead(batch_at, SCHEDULE.steps)

    def loss_at(step: int) -> Tensor:
        learning = course_at(step)
        return diffusion_loss(learning.base, learning.encoder, batch(step), rng_of(step), reader=reader)

    train("polish", groups_of(base.unet), SCHEDULE, loss_at, lambda: base.save(BASE_DIR))
