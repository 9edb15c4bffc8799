"""Stages `base`, `adapter` and `style`: everything that denoises."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from photomaker.method.id_encoder import IDEncoder
from training.attributes import IDENTITY_CLASSES, attribute_loss, labels
from training.autoencoder import LATENTS_FILE
from training.batches import Ahead, Batch, Mixture, prepare
from training.conditions import LEVELS, Naming, diffusion_loss
from training.device import DEVICE, per_step
from training.lengths import LENGTHS
from training.looks import LORA_STYLE, STYLES
from training.loop import Group, Schedule, groups_of, train
from training.models import (
    ADAPTER_FILE,
    ADAPTER_V2_FILE,
    BASE_DIR,
    BASE_ID_FILE,
    EMBEDDINGS_FILE,
    PERCEIVER_FILE,
    STYLE_FILE,
    TEXT_WIDTH,
    VISION_FILE,
    Base,
    new_id_encoder,
    new_id_encoder_v2,
)
from training.pictures import TOTAL, describe, load_pictures
from training.reading import load_reader
from training.team import TEAM

BATCH = per_step(cpu=32, gpu=128)
SAMPLES = BATCH * LEVELS
"""Of a step."""
BASE_SCHEDULE = Schedule(
    steps=LENGTHS.base_samples // SAMPLES,
    rate=1.2e-3 * LENGTHS.rate,
    matrix_rate=1e-3 * LENGTHS.rate,
    flat=0.6,
    save_every=100,
    average_over=500,
    seed=2,
)
ADAPTER_SCHEDULE = Schedule(
    steps=LENGTHS.adapter_samples // SAMPLES, rate=8e-4, flat=0.4, warmup=20, average_over=200, seed=3
)
STYLE_SCHEDULE = Schedule(
    steps=LENGTHS.style_samples // SAMPLES, rate=2e-3, flat=0.4, warmup=10, average_over=50, seed=4
)
ADAPTER_RANK, STYLE_RANK = 16, 8
ATTENTION = ["to_k", "to_q", "to_v", "to_out.0"]


class Pictures:
    """The latents of the training set, and the batches of a stage: every picture once an epoch, in a new order each,
    and those in a named style twice, as each style has but a few; those with spikes, which are hard, twice that.
    """

    def __init__(
        self,
        base: Base,
        schedule: Schedule,
        mixture: Mixture,
        *,
        embeddings: Tensor | None = None,
        lora_style: bool = False,
    ) -> None:
        self.base, self.mixture, self.seed = base, mixture, schedule.seed
        self.latents, self.pictures = torch.load(LATENTS_FILE, weights_only=True), load_pictures()
        self.embeddings = embeddings
        described = [describe(index) for index in range(TOTAL)]
        self.indices = [index for index, (_, _, look) in enumerate(described) if (look == LORA_STYLE) == lora_style]
        self.indices += [index for index in self.indices if described[index][2] in STYLES]
        self.indices += [index for index in self.indices if described[index][0].hair_style == "spiky"]
        self.order = functools.lru_cache(maxsize=2)(self._order)
        self.batch = Ahead(self.batch_at, schedule.steps)

    def _order(self, epoch: int) -> list[int]:
        return random.Random(f"{self.seed} {epoch}").sample(self.indices, len(self.indices))

    def batch_at(self, step: int) -> Batch:
        """This process's part of one step's batch."""
        epoch, place = divmod(step, len(self.indices) // BATCH)
        chosen = list(TEAM.part_of(self.order(epoch)[place * BATCH : (place + 1) * BATCH]))
        seen = self.latents, chosen, self.pictures, self.embeddings
        return prepare(self.base, *seen, self.mixture, step, rng_of(step))


def rng_of(step: int) -> random.Random:
    """This process's randomness at one step."""
    return random.Random(16 * step + TEAM.rank)


def naming_by(head: nn.Linear) -> Naming:
    """How badly a layer on the ID tokens names the attributes of the people in the photos."""

    def naming(tokens: Tensor, photos: Sequence[int]) -> Tensor:
        wanted = torch.tensor([labels(*describe(photo)[:2], IDENTITY_CLASSES) for photo in photos])
        of_photos = tokens.unflatten(0, (len(photos), -1)).mean(1)  # version 2 has two a photo
        return attribute_loss(head(of_photos), wanted.to(DEVICE), IDENTITY_CLASSES)

    return naming


def new_head() -> nn.Linear:
    """The layer that names attributes; it is thrown away with its stage."""
    return nn.Linear(2 * TEXT_WIDTH, sum(len(values) for values in IDENTITY_CLASSES.values())).to(DEVICE)


def train_base() -> None:
    """Stage `base`: UNet, text encoders and an ID encoder together, on captions with and without photos.

    It goes on from a base that is there (`warm`).
    """
    torch.manual_seed(2)
    base = Base.load(BASE_DIR) if BASE_DIR.exists() else Base.new()
    encoder, head, reader = new_id_encoder().to(DEVICE), new_head(), load_reader()
    encoder.load_state_dict(torch.load(VISION_FILE, weights_only=True))
    pictures = Pictures(base, BASE_SCHEDULE, Mixture(with_photos=0.72))
    fuse_module = list(encoder.fuse_module.parameters())
    fusing = {id(parameter) for parameter in fuse_module}
    vision = [parameter for parameter in encoder.parameters() if id(parameter) not in fusing]

    def loss_at(step: int) -> Tensor:
        return diffusion_loss(base, encoder, pictures.batch(step), rng_of(step), naming_by(head), reader)

    def save() -> None:
        base.save(BASE_DIR)
        torch.save(encoder.state_dict(), BASE_ID_FILE)

    naming = Group(list(head.parameters()), factor=2.0)
    networks = [group for network in base.networks() for group in groups_of(network)]
    groups = [*networks, Group(fuse_module), Group(vision, factor=0.5), naming]
    train("base", groups, BASE_SCHEDULE, loss_at, save)


def add_lora(base: Base, rank: int, weights: dict[str, Tensor] | None = None) -> list[nn.Parameter]:
    """Put a LoRA, fresh or of these weights, on the UNet of a frozen base, and give its parameters."""
    base.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION))
    if weights is not None:
        set_peft_model_state_dict(base.unet, weights)
    return [parameter for parameter in base.unet.parameters() if parameter.requires_grad]


def train_adapter() -> None:
    """Stage `adapter`: the LoRA and the ID encoder, with the base frozen, as PhotoMaker is trained."""
    torch.manual_seed(3)
    encoder = new_id_encoder().to(DEVICE)
    encoder.load_state_dict(torch.load(BASE_ID_FILE, weights_only=True))
    adapt("adapter", encoder, [Group(list(encoder.parameters()), factor=0.4)], ADAPTER_FILE)


def train_adapter_v2() -> None:
    """Stage `adapter-v2`: the same for version 2, from where version 1's ended; at most the perceiver is new."""
    torch.manual_seed(6)
    before = torch.load(ADAPTER_FILE, weights_only=True)
    encoder = new_id_encoder_v2().to(DEVICE)
    encoder.load_state_dict(before["id_encoder"], strict=False)
    if PERCEIVER_FILE.exists():
        encoder.qformer_perceiver.load_state_dict(torch.load(PERCEIVER_FILE, weights_only=True))
    perceiver = list(encoder.qformer_perceiver.parameters())
    new = {id(parameter) for parameter in perceiver}
    known = [parameter for parameter in encoder.parameters() if id(parameter) not in new]
    embeddings = torch.load(EMBEDDINGS_FILE, weights_only=True)
    groups = [Group(perceiver), Group(known, factor=0.4)]
    adapt("adapter-v2", encoder, groups, ADAPTER_V2_FILE, before["lora_weights"], embeddings)


def adapt(
    stage: str,
    encoder: IDEncoder,
    groups: list[Group],
    target: Path,
    lora_weights: dict[str, Tensor] | None = None,
    embeddings: Tensor | None = None,
) -> None:
    """Train an ID encoder and a LoRA, which may start from weights, on the frozen base."""
    base, head, reader = Base.load(BASE_DIR), new_head(), load_reader()
    base.freeze()
    lora = add_lora(base, ADAPTER_RANK, lora_weights)
    mixture = Mixture(with_photos=0.8, tokens_per_photo=encoder.tokens_per_photo)
    pictures = Pictures(base, ADAPTER_SCHEDULE, mixture, embeddings=embeddings)

    def loss_at(step: int) -> Tensor:
        return diffusion_loss(base, encoder, pictures.batch(step), rng_of(step), naming_by(head), reader)

    def save() -> None:
        weights = {name: value.clone() for name, value in get_peft_model_state_dict(base.unet).items()}
        torch.save({"id_encoder": encoder.state_dict(), "lora_weights": weights}, target)

    train(stage, [Group(lora), *groups, Group(list(head.parameters()), factor=2.0)], ADAPTER_SCHEDULE, loss_at, save)


def train_style() -> None:
    """Stage `style`: a LoRA on the frozen base that draws everything in a look no caption names."""
    torch.manual_seed(4)
    base, encoder = Base.load(BASE_DIR), new_id_encoder().to(DEVICE)
    base.freeze()
    encoder.load_state_dict(torch.load(ADAPTER_FILE, weights_only=True)["id_encoder"])
    encoder.requires_grad_(False)
    lora = add_lora(base, STYLE_RANK)
    pictures = Pictures(base, STYLE_SCHEDULE, Mixture(with_photos=0.6), lora_style=True)

    def loss_at(step: int) -> Tensor:
        return diffusion_loss(base, encoder, pictures.batch(step), rng_of(step))

    def save() -> None:
        torch.save({name: value.clone() for name, value in get_peft_model_state_dict(base.unet).items()}, STYLE_FILE)

    train("style", [Group(lora)], STYLE_SCHEDULE, loss_at, save)
