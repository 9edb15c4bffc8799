"""People never trained on, in scenes with prompts, and pictures of them by a checkpoint: what nano is measured with."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from photomaker import PhotoMakerPipeline
from photomaker.deployment import BasePipeline, Deployment, on_disk
from training.avatar import IMAGE_SIZE, render
from training.export import NANO
from training.identity import HELD_OUT, Identity, Photo, draw_identity, draw_photo
from training.models import FACES_DIR, PACK

if TYPE_CHECKING:
    from photomaker.photos.faces import FaceFinder

FIRST_PERSON = HELD_OUT + 1000
PHOTOS = 4


@dataclass(frozen=True)
class Scene:
    """A prompt, and the photo it describes."""

    prompt: str
    photo: Photo


SCENES = (
    Scene("photo of a {} img wearing a blue hoodie, smiling, on a beach", Photo("beach", "smiling", "hoodie", "blue")),
    Scene(
        "photo of a {} img wearing a black suit, serious, in a city at night",
        Photo("city", "serious", "suit", "black"),
    ),
    Scene(
        "photo of a {} img wearing a yellow shirt, laughing, in a forest",
        Photo("forest", "laughing", "shirt", "yellow"),
    ),
    Scene(
        "portrait of a {} img wearing a red hoodie, surprised, purple background",
        Photo("purple", "surprised", "hoodie", "red"),
    ),
)
DOCUMENTED_PROMPT = (
    "instagram photo, portrait photo of a {} img, colorful, perfect face, natural skin, hard shadows, film grain"
)
"""The prompt of the endpoint's documentation: it says neither place nor clothes nor expression."""


@dataclass(frozen=True)
class Case:
    """One person in one scene, with a seed of its own."""

    number: int
    identity: Identity
    scene: Scene
    seed: int


def cases(people: int) -> Iterator[Case]:
    for person in range(people):
        for place, scene in enumerate(SCENES):
            number = FIRST_PERSON + person
            yield Case(number, draw_identity(number), scene, seed=100 * person + place)


def photos_of(case: Case, count: int, size: int = IMAGE_SIZE) -> list[Image.Image]:
    return [render(case.identity, draw_photo(case.number, photo), size=size) for photo in range(count)]


def deployment_of(checkpoint: Path) -> Deployment:
    """What a checkpoint's folder serves; or the deployment whose file is named itself, such as version 2's."""
    return Deployment.read(checkpoint / "fal.toml" if checkpoint.is_dir() else checkpoint)


def load_nano(checkpoint: Path = NANO, name: BasePipeline = "photomaker") -> PhotoMakerPipeline:
    """A pipeline of a checkpoint."""
    settings = deployment_of(checkpoint).pipelines[name]
    return PhotoMakerPipeline.from_pretrained(
        on_disk(settings.base),
        on_disk(settings.adapter),
        loras=[(on_disk(lora.path), lora.weight) for lora in settings.loras],
        scheduler=settings.scheduler,
        guidance_stop=settings.guidance_stop,
    )


@functools.cache
def face_finder() -> FaceFinder:
    """What finds and recognises avatars."""
    from photomaker.photos.faces import FaceFinder  # version 1 is measured without InsightFace

    return FaceFinder(PACK, NANO / FACES_DIR.name)


def embeddings_of(pipe: PhotoMakerPipeline, photos: Sequence[Image.Image]) -> Tensor | None:
    """The photos' face embeddings, [n, 512], where the ID encoder wants them, which is in version 2."""
    if not pipe.id_encoder.wants_faces:
        return None
    finder = face_finder()
    return torch.from_numpy(np.stack([finder.embedding(finder.faces(photo)[0]) for photo in photos]))


def side_of(pipe: PhotoMakerPipeline) -> int:
    """The sides of a checkpoint's pictures, in pixels."""
    return int(pipe.text2img.default_sample_size * pipe.text2img.vae_scale_factor)


def generate(
    pipe: PhotoMakerPipeline,
    chosen: Sequence[Case],
    steps: int,
    *,
    photos: int = PHOTOS,
    text_only: bool = False,
    size: tuple[int, int] | tuple[None, None] = (None, None),
) -> list[Image.Image]:
    """One picture a case, of its own size or of a width and height; `text_only` never merges the person in."""
    width, height = size
    pictures: list[Image.Image] = []
    for case in chosen:
        sent = photos_of(case, photos, side_of(pipe))
        pictures += pipe(
            case.scene.prompt.format(case.identity.gender),
            sent,
            face_embeddings=embeddings_of(pipe, sent),
            num_inference_steps=steps,
            start_merge_step=steps if text_only else None,
            generator=torch.Generator().manual_seed(case.seed),
            width=width,
            height=height,
        )
    return pictures


def renders(chosen: Sequence[Case], side: int) -> list[Image.Image]:
    """What the pictures of the cases should be."""
    return [render(case.identity, case.scene.photo, size=side) for case in chosen]


@torch.no_grad()
def through_autoencoder(pipe: PhotoMakerPipeline, chosen: Sequence[Case]) -> list[Image.Image]:
    """Renders of the cases, encoded and decoded: the best the UNet could do."""
    processor, vae = pipe.text2img.image_processor, pipe.text2img.vae
    pixels = processor.preprocess(renders(chosen, side_of(pipe)))
    decoded = [vae.decode(vae.encode(part).latent_dist.mean).sample for part in pixels.split(16)]
    pictures: list[Image.Image] = processor.postprocess(torch.cat(decoded))
    return pictures
