"""Stages `base`, `adapter` and `style`: everything that denoises."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from training.attributes import IDENTITY_CLASSES, attribute_loss, labels
from training.autoencoder import LATENTS_FILE
from training.conditions import Mixture, Naming, diffusion_loss
from training.device import DEVICE
from training.looks import LORA_STYLE
from training.loop import Group, Schedule, groups_of, train
from training.models import (
    ADAPTER_FILE,
    BASE_DIR,
    BASE_ID_FILE,
    STYLE_FILE,
    TEXT_WIDTH,
    VISION_FILE,
    WARM_DIR,
    Base,
    new_id_encoder,
)
from training.pictures import TOTAL, describe, load_pictures
from training.reading import load_reader
from training.team import TEAM

BATCH = 48
BASE_SCHEDULE = Schedule(steps=30000, rate=1.2e-3, matrix_rate=1e-3, flat=0.6, save_every=100, average_over=500, seed=2)
ADAPTER_SCHEDULE = Schedule(steps=2000, rate=8e-4, flat=0.4, warmup=20, average_over=200, seed=3)
STYLE_SCHEDULE = Schedule(steps=700, rate=2e-3, flat=0.4, warmup=10, average_over=50, seed=4)
ADAPTER_RANK, STYLE_RANK = 16, 8
ATTENTION = ["to_k", "to_q", "to_v", "to_out.0"]


def trainable_pictures(*, lora_style: bool = False) -> list[int]:
    """The pictures of the base and adapter stages, or those of the style LoRA."""
    return [index for index in range(TOTAL) if (describe(index)[2] == LORA_STYLE) == lora_style]


def shuffled(indices: list[int], step: int, seed: int) -> list[int]:
    """This process's part of one step's batch: every picture once an epoch, in a new order each time."""
    per_epoch = len(indices) // BATCH
    epoch, place = divmod(step, per_epoch)
    order = random.Random(f"{seed} {epoch}").sample(indices, len(indices))
    return list(TEAM.part_of(order[place * BATCH : (place + 1) * BATCH]))


def rng_of(step: int) -> random.Random:
    """This process's randomness at one step."""
    return random.Random(16 * step + TEAM.rank)


def naming_by(head: nn.Linear) -> Naming:
    """How badly a layer on the ID tokens names the attributes of the people in the photos."""

    def naming(tokens: Tensor, photos: Sequence[int]) -> Tensor:
        wanted = torch.tensor([labels(*describe(photo)[:2], IDENTITY_CLASSES) for photo in photos])
        return attribute_loss(head(tokens), wanted.to(DEVICE), IDENTITY_CLASSES)

    return naming


def new_head() -> nn.Linear:
    """The layer that names attributes; it is thrown away with its stage."""
    return nn.Linear(2 * TEXT_WIDTH, sum(len(values) for values in IDENTITY_CLASSES.values())).to(DEVICE)


def train_base() -> None:
    """Stage `base`: UNet, text encoders and an ID encoder together, on captions with and without photos."""
    torch.manual_seed(2)
    base = Base.load(WARM_DIR) if WARM_DIR.exists() else Base.new()
    encoder, head, reader = new_id_encoder().to(DEVICE), new_head(), load_reader()
    encoder.load_state_dict(torch.load(VISION_FILE, weights_only=True))
    latents, pictures = torch.load(LATENTS_FILE, weights_only=True), load_pictures()
    indices = trainable_pictures()
    fuse_module = list(encoder.fuse_module.parameters())
    fusing = {id(parameter) for parameter in fuse_module}
    vision = [parameter for parameter in encoder.parameters() if id(parameter) not in fusing]

    def loss_at(step: int) -> Tensor:
        chosen = shuffled(indices, step, BASE_SCHEDULE.seed)
        mixture = Mixture(with_photos=0.72)
        naming = naming_by(head)
        return diffusion_loss(base, encoder, latents, chosen, pictures, mixture, rng_of(step), naming, reader)

    def save() -> None:
        base.save(BASE_DIR)
        torch.save(encoder.state_dict(), BASE_ID_FILE)

    naming = Group(list(head.parameters()), factor=2.0)
    networks = [group for network in base.networks() for group in groups_of(network)]
    groups = [*networks, Group(fuse_module), Group(vision, factor=0.5), naming]
    train("base", groups, BASE_SCHEDULE, loss_at, save)


def train_adapter() -> None:
    """Stage `adapter`: the LoRA and the ID encoder, with the base frozen, as PhotoMaker is trained."""
    torch.manual_seed(3)
    base, encoder, head, reader = Base.load(BASE_DIR), new_id_encoder().to(DEVICE), new_head(), load_reader()
    base.freeze()
    encoder.load_state_dict(torch.load(BASE_ID_FILE, weights_only=True))
    base.unet.add_adapter(LoraConfig(r=ADAPTER_RANK, lora_alpha=ADAPTER_RANK, target_modules=ATTENTION))
    lora = [parameter for parameter in base.unet.parameters() if parameter.requires_grad]
    latents, pictures = torch.load(LATENTS_FILE, weights_only=True), load_pictures()
    indices = trainable_pictures()

    def loss_at(step: int) -> Tensor:
        chosen = shuffled(indices, step, ADAPTER_SCHEDULE.seed)
        mixture = Mixture(with_photos=0.8)
        naming = naming_by(head)
        return diffusion_loss(base, encoder, latents, chosen, pictures, mixture, rng_of(step), naming, reader)

    def save() -> None:
        weights = {name: value.clone() for name, value in get_peft_model_state_dict(base.unet).items()}
        torch.save({"id_encoder": encoder.state_dict(), "lora_weights": weights}, ADAPTER_FILE)

    naming = Group(list(head.parameters()), factor=2.0)
    groups = [Group(lora), Group(list(encoder.parameters()), factor=0.4), naming]
    train("adapter", groups, ADAPTER_SCHEDULE, loss_at, save)


def train_style() -> None:
    """Stage `style`: a LoRA on the frozen base that draws everything in a look no caption names."""
    torch.manual_seed(4)
    base, encoder = Base.load(BASE_DIR), new_id_encoder().to(DEVICE)
    base.freeze()
    encoder.load_state_dict(torch.load(ADAPTER_FILE, weights_only=True)["id_encoder"])
    encoder.requires_grad_(False)
    base.unet.add_adapter(LoraConfig(r=STYLE_RANK, lora_alpha=STYLE_RANK, target_modules=ATTENTION))
    lora = [parameter for parameter in base.unet.parameters() if parameter.requires_grad]
    latents, pictures = torch.load(LATENTS_FILE, weights_only=True), load_pictures()
    indices = trainable_pictures(lora_style=True)

    def loss_at(step: int) -> Tensor:
        chosen = shuffled(indices, step, STYLE_SCHEDULE.seed)
        return diffusion_loss(base, encoder, latents, chosen, pictures, Mixture(with_photos=0.6), rng_of(step))

    def save() -> None:
        torch.save({name: value.clone() for name, value in get_peft_model_state_dict(base.unet).items()}, STYLE_FILE)

    train("style", [Group(lora)], STYLE_SCHEDULE, loss_at, save)
