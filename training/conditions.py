"""Batches: noisy latents, captions, and photos for the captions with a trigger word."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

from photomaker.method.id_encoder import IDEncoder
from photomaker.method.prompts import TRIGGER_TOKEN
from training.captions import caption, negative
from training.models import PHOTO_SIDE, Base, signal_levels
from training.pictures import PICTURES_EACH, PLAIN_PHOTOS, describe

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
SIGNAL = signal_levels()
LONGEST = 77
FACE_WEIGHT = 2.5
NAMING_WEIGHT = 0.05

Naming = Callable[[Tensor, Sequence[int]], Tensor]
"""ID tokens of pictures of the training set, and which → how badly they tell the people's attributes."""


def photo_pixels(pictures: np.ndarray) -> Tensor:
    """Pictures [n, h, w, 3] in bytes → what the product's CLIP preprocessing gives, [n, 3, side, side]."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    small = F.interpolate(pixels, size=(PHOTO_SIDE, PHOTO_SIDE), mode="bicubic", antialias=True)
    return (small.round().clamp(0, 255) / 255 - MEAN) / DEVIATION


def disturbed(pixels: Tensor, rng: random.Random) -> Tensor:
    """Photos a little moved and re-lit, so that the ID encoder does not rely on exact pixels."""
    pixels = torch.roll(pixels, (rng.randint(-2, 2), rng.randint(-2, 2)), (2, 3))
    gain = 1 + 0.2 * (torch.rand(len(pixels), 1, 1, 1) - 0.5)
    return pixels * gain + 0.2 * (torch.rand(len(pixels), 3, 1, 1) - 0.5)


def other_photos(index: int, count: int, rng: random.Random) -> list[int]:
    """Plain photos of the person in picture `index`, other than that picture."""
    first = index // PICTURES_EACH * PICTURES_EACH
    plain = [photo for photo in range(first, first + PLAIN_PHOTOS) if photo != index]
    return rng.sample(plain, count)


@dataclass
class Prompts:
    """Token ids of both tokenizers, [n, 77], and where ID tokens belong, [n, 77]."""

    ids: Tensor
    ids_2: Tensor
    id_positions: Tensor


def tokenize(base: Base, captions: Sequence[str], repeats: Sequence[int]) -> Prompts:
    """Tokenize; the trigger word is dropped and the class word before it repeated (0 times: once, as text only)."""
    rows: list[list[int]] = []
    positions = torch.zeros(len(captions), LONGEST, dtype=torch.bool)
    trigger = base.tokenizer.convert_tokens_to_ids(TRIGGER_TOKEN)
    encoded = base.tokenizer(list(captions)).input_ids
    for row, (ids, count) in enumerate(zip(encoded, repeats, strict=True)):
        if trigger in ids:
            place = ids.index(trigger)
            ids = ids[: place - 1] + [ids[place - 1]] * max(1, count) + ids[place + 1 :]
            positions[row, place - 1 : place - 1 + count] = True
        rows.append(ids[: LONGEST - 1] + ids[-1:] if len(ids) > LONGEST else ids)
    return Prompts(_padded(rows, base.tokenizer), _padded(rows, base.tokenizer_2), positions)


def _padded(rows: Sequence[list[int]], tokenizer: CLIPTokenizer) -> Tensor:
    return torch.tensor([ids + [tokenizer.pad_token_id] * (LONGEST - len(ids)) for ids in rows])


def fuse(encoder: IDEncoder, sequence: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
    """Put the ID tokens [positions in all, width] in place of the class tokens of a batch."""
    fused = sequence.float().clone()
    fused[positions] = encoder.fuse_module(fused[positions], tokens)
    return fused


def noise(latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, their timesteps (spread evenly over the schedule), and the velocities to predict."""
    count = len(latents)
    timesteps = ((torch.arange(count) + torch.rand(count)) / count * 1000).long().clamp(0, 999)
    signal = SIGNAL[timesteps].view(-1, 1, 1, 1)
    random_part = torch.randn_like(latents)
    noisy = signal.sqrt() * latents + (1 - signal).sqrt() * random_part
    return noisy, timesteps, signal.sqrt() * random_part - (1 - signal).sqrt() * latents


def face_weights(side: int) -> Tensor:
    """Weights [side, side] of the loss, of mean 1: faces are small and hard, backgrounds large and easy."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centre = (side - 1) / 2
    face = ((row - centre + 0.05 * side) ** 2 + (column - centre) ** 2).sqrt() <= 0.36 * side
    weights = torch.where(face, FACE_WEIGHT, 1.0)
    return weights / weights.mean()


@dataclass(frozen=True)
class Mixture:
    """Shares of a batch: captions with a trigger word and photos, and negative prompts, most of them empty."""

    with_photos: float
    negative: float = 0.14


def diffusion_loss(
    base: Base,
    encoder: IDEncoder,
    latents: Tensor,
    chosen: Sequence[int],
    pictures: np.ndarray,
    mixture: Mixture,
    rng: random.Random,
    naming: Naming | None = None,
) -> Tensor:
    """The velocity-prediction loss on a batch of pictures, each with its caption and maybe photos of its person.

    With `naming`, a little of how badly the ID tokens tell the people apart is added: glasses are a few pixels of
    the picture, so the diffusion loss alone lets the vision tower forget them.
    """
    photos_each = rng.choices((1, 2, 3, 4), (0.4, 0.2, 0.1, 0.3))[0]
    captions, repeats, photos = [], [], []
    for index in chosen:
        draw = rng.random()
        with_photos = draw < mixture.with_photos
        if draw > 1 - mixture.negative:
            captions.append(negative(describe(index)[2], rng))
        else:
            captions.append(caption(*describe(index), rng, trigger=with_photos))
        placed = with_photos and "img" in captions[-1].replace(",", " ").split()
        repeats.append(photos_each if placed else 0)
        if placed:
            photos += other_photos(index, photos_each, rng)
    prompts = tokenize(base, captions, repeats)
    noisy, timesteps, wanted = noise(latents[list(chosen)].float())
    unnamed = torch.zeros(())
    # On so few tokens the plain attention trains faster on a CPU than the fused one.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        sequence, pooled = base.encode(prompts.ids, prompts.ids_2)
        if photos:
            pixels = disturbed(photo_pixels(np.stack([pictures[photo] for photo in photos])), rng)
            tokens = encoder.embed(pixels).float()
            sequence = fuse(encoder, sequence, prompts.id_positions, tokens)
            if naming is not None:
                unnamed = naming(tokens, photos).float()
        predicted = base.predict(noisy, timesteps, sequence, pooled)
    denoising = ((predicted.float() - wanted).square() * face_weights(wanted.shape[-1])).mean()
    return denoising + NAMING_WEIGHT * unnamed
