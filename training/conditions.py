"""Batches: noisy latents, captions, and photos for the captions with a trigger word."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

from photomaker.method.id_encoder import IDEncoder
from photomaker.method.prompts import TRIGGER_TOKEN
from training.captions import caption, negative
from training.device import DEVICE, half_precision
from training.models import Base, signal_levels
from training.photos import disturbed, photo_pixels
from training.pictures import PICTURES_EACH, PLAIN_PHOTOS, describe
from training.reading import LatentReader, misread, wanted_labels

SIGNAL = signal_levels()
LONGEST = 77
FACE_WEIGHT = 2.5
FEATURE_WEIGHT = 5.0
FEATURES = ((50.5, 56.0), (77.5, 56.0), (64.0, 80.0))
"""Eyes and mouth: across and down, of 128."""
NAMING_WEIGHT = 0.05
READING_WEIGHT = 0.01

Naming = Callable[[Tensor, Sequence[int]], Tensor]
"""ID tokens of pictures of the training set, and which → how badly they tell the people's attributes."""


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
    first, second = (_padded(rows, tokenizer).to(DEVICE) for tokenizer in (base.tokenizer, base.tokenizer_2))
    return Prompts(first, second, positions.to(DEVICE))


def _padded(rows: Sequence[list[int]], tokenizer: CLIPTokenizer) -> Tensor:
    return torch.tensor([ids + [tokenizer.pad_token_id] * (LONGEST - len(ids)) for ids in rows])


def fuse(encoder: IDEncoder, sequence: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
    """Put the ID tokens [positions in all, width] in place of the class tokens of a batch."""
    fused = sequence.float().clone()
    fused[positions] = encoder.fuse_module(fused[positions], tokens)
    return fused


def plain_attention() -> AbstractContextManager[object]:
    """On so few tokens the plain attention trains faster on a CPU than the fused one."""
    return sdpa_kernel(SDPBackend.MATH) if DEVICE.type == "cpu" else nullcontext()


def noise(latents: Tensor, latest: int = 1000) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, their timesteps (spread evenly, all before `latest`), and the velocities to predict."""
    count = len(latents)
    timesteps = ((torch.arange(count) + torch.rand(count)) / count * latest).long().clamp(0, latest - 1)
    timesteps = timesteps.to(latents.device)
    signal = SIGNAL.to(latents.device)[timesteps].view(-1, 1, 1, 1)
    random_part = torch.randn_like(latents)
    noisy = signal.sqrt() * latents + (1 - signal).sqrt() * random_part
    return noisy, timesteps, signal.sqrt() * random_part - (1 - signal).sqrt() * latents


def guess(noisy: Tensor, timesteps: Tensor, velocities: Tensor) -> Tensor:
    """The latents that these velocities, predicted at these timesteps, take to be behind the noise."""
    signal = SIGNAL.to(noisy.device)[timesteps].view(-1, 1, 1, 1)
    return signal.sqrt() * noisy - (1 - signal).sqrt() * velocities


def face_weights(side: int) -> Tensor:
    """Weights [side, side] of the loss, of mean 1: eyes, mouths and faces are small and hard, backgrounds easy."""
    places = (torch.arange(side) + 0.5) * 128 / side
    row, column = torch.meshgrid(places, places, indexing="ij")
    weights = torch.where((row - 58).hypot(column - 64) <= 46, FACE_WEIGHT, 1.0)
    for across, down in FEATURES:
        weights[(row - down).hypot(column - across) <= 10] = FEATURE_WEIGHT
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
    reader: LatentReader | None = None,
) -> Tensor:
    """The velocity-prediction loss on a batch of pictures, each with its caption and maybe photos of its person.

    With `naming`, a little of how badly the ID tokens tell the people apart is added: glasses are a few pixels of
    the picture, so the diffusion loss alone lets the vision tower forget them. With `reader`, a little of how badly
    the latents that the UNet has in mind show the attributes, the less the noisier they were.
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
    noisy, timesteps, wanted = noise(latents[list(chosen)].float().to(DEVICE))
    unnamed = misread_guess = torch.zeros((), device=DEVICE)
    with half_precision(), plain_attention():
        sequence, pooled = base.encode(prompts.ids, prompts.ids_2)
        if photos:
            pixels = disturbed(photo_pixels(np.stack([pictures[photo] for photo in photos])), rng).to(DEVICE)
            tokens = encoder.embed(pixels).float()
            sequence = fuse(encoder, sequence, prompts.id_positions, tokens)
            if naming is not None:
                unnamed = naming(tokens, photos).float()
        predicted = base.predict(noisy, timesteps, sequence, pooled)
        if reader is not None:
            scores = reader(guess(noisy, timesteps, predicted.float())).float()
            misread_guess = (SIGNAL.to(DEVICE)[timesteps] * misread(scores, wanted_labels(chosen))).mean()
    denoising = ((predicted.float() - wanted).square() * face_weights(wanted.shape[-1]).to(DEVICE)).mean()
    return denoising + NAMING_WEIGHT * unnamed + READING_WEIGHT * misread_guess
