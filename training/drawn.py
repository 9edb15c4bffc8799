"""Stage `drawn`: latents as base and adapter draw them from noise, for the decoder to learn what it will be given."""

from __future__ import annotations

import random
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor

from photomaker import PhotoMakerPipeline
from training.batches import other_photos
from training.captions import caption, negative
from training.cases import deployment_of, load_nano
from training.device import DEVICE
from training.diffusion import ADAPTER_RANK, add_lora
from training.export import NANO
from training.models import ADAPTER_FILE, BASE_DIR, Base, new_id_encoder
from training.pictures import TOTAL, WORK, describe, load_pictures
from training.reading import UNREADABLE
from training.team import TEAM

DRAWN_DIR = WORK / "drawn"
COUNT = 1600
STEPS = 25
"""Half as many as the product's default, for twice as many latents in the time."""


def drawing_pipeline() -> PhotoMakerPipeline:
    """The base with the adapter, as they were trained, or as they ship, if no adapter was."""
    if not ADAPTER_FILE.exists():
        return load_nano()
    base, encoder, adapter = Base.load(BASE_DIR), new_id_encoder(), torch.load(ADAPTER_FILE, weights_only=True)
    encoder.load_state_dict(adapter["id_encoder"])
    add_lora(base, ADAPTER_RANK, adapter["lora_weights"])
    base.unet.fuse_lora()
    base.unet.unload_lora()
    stop = deployment_of(NANO).pipelines["photomaker"].guidance_stop
    return PhotoMakerPipeline(base.pipeline(), encoder.eval().to(DEVICE), guidance_stop=stop)


def wanted_pictures() -> list[int]:
    """The pictures of the training set that are asked for again, in words and photos."""
    shown = [index for index in range(TOTAL) if describe(index)[2] not in UNREADABLE]
    return random.Random("drawn").sample(shown, COUNT)


def file_of(index: int) -> Path:
    """Where the latents of another picture like this one of the training set are."""
    return DRAWN_DIR / f"{index}.pt"


def draw() -> None:
    """Draw them; those that are there already stay, so a base that was trained further wants the folder deleted."""
    pipe, pictures = drawing_pipeline(), load_pictures()
    DRAWN_DIR.mkdir(exist_ok=True)
    for place, index in enumerate(TEAM.part_of(wanted_pictures())):
        if file_of(index).exists():
            continue
        rng, described = random.Random(f"drawn {index}"), describe(index)
        latents = cast(
            Tensor,
            pipe(
                caption(*described, rng, trigger=True),
                [Image.fromarray(pictures[photo]) for photo in other_photos(index, rng.randint(1, 4), rng)],
                negative_prompt=negative(described[2], rng),
                num_inference_steps=STEPS,
                generator=torch.Generator().manual_seed(index),
                output_type="latent",
            ),
        )
        part = file_of(index).with_suffix(".part")
        torch.save(latents.half().cpu(), part)
        part.rename(file_of(index))
        if place % 50 == 0 and TEAM.rank == 0:
            print(f"drawn {place * TEAM.size}/{COUNT}", flush=True)


def load_drawn() -> tuple[list[int], Tensor]:
    """Which pictures of the training set they are like, and the latents [n, channels, side, side]."""
    indices = [index for index in wanted_pictures() if file_of(index).exists()]
    return indices, torch.cat([torch.load(file_of(index), weights_only=True) for index in indices])
