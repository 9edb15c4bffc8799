"""The denoising loss: noise, what is asked of the UNet, and what counts how much."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from photomaker.method.id_encoder import IDEncoder
from training.avatar import IMAGE_SIZE
from training.batches import WHOLE, Batch
from training.device import DEVICE, half_precision
from training.lengths import LENGTHS
from training.models import Base, signal_levels
from training.photos import disturbed
from training.reading import LatentReader, misread

SIGNAL = signal_levels()
FACE_WEIGHT = 2.5
FEATURE_WEIGHT = 5.0
FEATURES = ((50.5, 56.0), (77.5, 56.0), (64.0, 80.0))
"""Eyes and mouth: across and down, of 128."""
FEATURE_REACH = 13.0
"""With brows and the rims of glasses."""
TOWARDS_DETAIL = 1.6
"""Above 1: pictures are seen with little noise, which decides the details, more often than with much."""
NAMING_WEIGHT = 0.05
LEVELS = 2
"""How much noise a picture is seen with, at once: text encoders and ID encoder, a fifth of a step, are asked once."""
READING_EMPHASIS = {"eyes": 30.0}
"""What of it counts more than the rest, as it is the smallest."""

Naming = Callable[[Tensor, Sequence[int]], Tensor]
"""ID tokens of pictures of the training set, and which → how badly they tell the people's attributes."""


def fuse(encoder: IDEncoder, sequence: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
    """Put the ID tokens [positions in all, width] in place of the class tokens of a batch."""
    fused = sequence.float().clone()
    fused[positions] = encoder.fuse_module(fused[positions], tokens)
    return fused


def plain_attention() -> AbstractContextManager[object]:
    """On so few tokens the plain attention trains faster on a CPU than the fused one."""
    return sdpa_kernel(SDPBackend.MATH) if DEVICE.type == "cpu" else nullcontext()


def noise(latents: Tensor, latest: int = 1000, towards_detail: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, their timesteps (all before `latest`, evenly unless towards detail), and velocities to predict."""
    count = len(latents)
    spread = (torch.arange(count) + torch.rand(count)) / count
    timesteps = (latest * spread**towards_detail).long().clamp(0, latest - 1).to(latents.device)
    signal = SIGNAL.to(latents.device)[timesteps].view(-1, 1, 1, 1)
    random_part = torch.randn_like(latents)
    noisy = signal.sqrt() * latents + (1 - signal).sqrt() * random_part
    return noisy, timesteps, signal.sqrt() * random_part - (1 - signal).sqrt() * latents


def guess(noisy: Tensor, timesteps: Tensor, velocities: Tensor) -> Tensor:
    """The latents that these velocities, predicted at these timesteps, take to be behind the noise."""
    signal = SIGNAL.to(noisy.device)[timesteps].view(-1, 1, 1, 1)
    return signal.sqrt() * noisy - (1 - signal).sqrt() * velocities


def face_weights(side: int) -> Tensor:
    """Weights [side, side] of the loss, of mean 1: eyes, mouths, faces and hair are hard, backgrounds easy."""
    places = (torch.arange(side) + 0.5) * 128 / side
    row, column = torch.meshgrid(places, places, indexing="ij")
    weights = torch.where((row - 58).hypot(column - 64) <= 55, FACE_WEIGHT, 1.0)
    for across, down in FEATURES:
        weights[(row - down).hypot(column - across) <= FEATURE_REACH] = FEATURE_WEIGHT
    return weights / weights.mean()


def diffusion_loss(
    base: Base,
    encoder: IDEncoder,
    batch: Batch,
    rng: random.Random,
    naming: Naming | None = None,
    reader: LatentReader | None = None,
) -> Tensor:
    """The velocity-prediction loss on a batch of pictures, each with its caption and maybe photos of its person.

    With `naming`, a little of how badly the ID tokens tell the people apart is added: glasses are a few pixels of
    the picture, so the diffusion loss alone lets the vision tower forget them. With `reader`, a little of how badly
    the latents that the UNet has in mind show the attributes, the less the noisier they were.
    """
    prompts = batch.prompts.on_device()
    noisy, timesteps, wanted = noise(batch.latents.to(DEVICE).repeat(LEVELS, 1, 1, 1), towards_detail=TOWARDS_DETAIL)
    unnamed = misread_guess = torch.zeros((), device=DEVICE)
    with half_precision(), plain_attention():
        sequence, pooled = base.encode(prompts.ids, prompts.ids_2)
        if batch.pixels is not None:
            faces = None if batch.faces is None else batch.faces.to(DEVICE)
            tokens = encoder.embed(disturbed(batch.pixels, rng).to(DEVICE), faces).float()
            sequence = fuse(encoder, sequence, prompts.id_positions, tokens)
            if naming is not None:
                unnamed = naming(tokens, batch.photos).float()
        predicted = base.predict(noisy, timesteps, sequence.repeat(LEVELS, 1, 1), pooled.repeat(LEVELS, 1))
        if reader is not None and batch.window == WHOLE:
            scores = reader(guess(noisy, timesteps, predicted.float())).float()
            verdicts = misread(scores, batch.labels.repeat(LEVELS, 1), READING_EMPHASIS)
            misread_guess = (SIGNAL.to(DEVICE)[timesteps].sqrt() * verdicts).mean()
    weights = batch.window.of(face_weights(IMAGE_SIZE // 8)).to(DEVICE)
    denoising = ((predicted.float() - wanted).square() * weights).mean()
    return denoising + NAMING_WEIGHT * unnamed + LENGTHS.reading_weight * misread_guess
