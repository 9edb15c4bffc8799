"""Stage `sharper`, on request, after `drawn`: encoder and decoder together once more, for the UNet that there is.

Where latents are hidden by 0.4 of noise its guess of them is off by more than a tenth, so they may move by less without
its noticing; and the decoder keeps seeing those from before, too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.autoencoder import (
    HELD_OUT_PICTURES,
    LATENTS_FILE,
    REFINED_VAE_DIR,
    VAE_DIR,
    print_quality,
    reconstruction_loss,
    to_tensor,
)
from training.decoder import LIKENESS_WEIGHT, PatchDiscriminator, decoder_loss
from training.device import DEVICE, half_precision, per_step
from training.drawn import load_drawn
from training.loop import Group, Schedule, groups_of, train
from training.pictures import WORK, describe, load_pictures
from training.team import TEAM

BATCH = per_step(cpu=8, gpu=32)
SCHEDULE = Schedule(
    steps=13_120 // BATCH,
    rate=5e-4,
    matrix_rate=1e-3,
    flat=0.3,
    save_every=100,
    average_over=100,
    seed=14,
)
JUDGED_FROM, LIKENESS_ALONE = 0.02, (0.44, 0.8)
"""The share of the stage from which on the discriminator has a say, and those between which it has none. It needs the
last one: likeness alone gains decibels, and makes drawn latents soft.
"""
DECODER_STATE = WORK / "decoder.state.pt"
HARD_STYLES = ("lineart", "enhance", "comic", "neonpunk")
"""The inked and the contrasty, of which an autoencoder knows least; a quarter of the pictures while nobody judges."""
DECIBELS_WEIGHT = 0.1
"""Of the logarithm of the squared error: pictures count alike, be they hard or easy, as decibels do."""
NEARNESS_WEIGHT = 0.3
"""Of the squared distance from the latents before, which deviate by 1."""


def decibels_lost(made: Tensor, wanted: Tensor) -> Tensor:
    """The mean logarithm of pictures' squared errors, up to a factor the loss in decibels."""
    return ((made - wanted).square().mean((1, 2, 3)) + 1e-5).log().mean()


def adopt_judgement(discriminator: PatchDiscriminator) -> None:
    """What the stage `decoder` taught its discriminator, which is the last that it trains; else it starts fresh."""
    if not DECODER_STATE.exists():
        return
    own = list(discriminator.parameters())
    learned = torch.load(DECODER_STATE, map_location=DEVICE, weights_only=True)["parameters"][-len(own) :]
    with torch.no_grad():
        for parameter, value in zip(own, learned, strict=True):
            parameter.copy_(value)


def hard_pictures(count: int) -> Sequence[int]:
    """Which of the first `count` pictures are in one of the hard styles."""
    return [index for index in range(count) if describe(index)[2] in HARD_STYLES]


def sharpen() -> None:
    """Of each batch a quarter are decoded from pictures' latents before, with noise or without, and the rest are
    pictures, encoded and decoded; while the discriminator judges, a quarter are drawn latents (`decoder`) instead.
    """
    torch.manual_seed(14)
    pictures, latents = load_pictures(), torch.load(LATENTS_FILE, weights_only=True)
    total = len(pictures) - HELD_OUT_PICTURES
    vae, before = (AutoencoderKL.from_pretrained(VAE_DIR).to(DEVICE) for _ in range(2))
    factor, discriminator = vae.config.scaling_factor, PatchDiscriminator().to(DEVICE)
    adopt_judgement(discriminator)
    (drawn_like, drawn), hard = load_drawn(), hard_pictures(total)

    def encoded(wanted: Tensor, known: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
        """Latents of the decoder's scale, a few of them from before, and how far the others are from there."""
        fresh = vae.encode(wanted).latent_dist.mean.float()
        old = known[len(fresh) :] + rng.choice((0.0, 0.1, 0.2)) * torch.randn_like(known[len(fresh) :])
        return torch.cat([fresh, old / factor]), (fresh * factor - known[: len(fresh)]).square().mean()

    def loss_at(step: int) -> Tensor:
        rng, done = random.Random(16 * step + TEAM.rank), step / SCHEDULE.steps
        count = len(TEAM.part_of(range(BATCH)))
        quarter, judging = count // 4, not LIKENESS_ALONE[0] <= done < LIKENESS_ALONE[1]
        chosen = rng.choices(hard, k=0 if judging else quarter)
        chosen += [rng.randrange(total) for _ in range(count - quarter)]
        imagined = rng.sample(range(len(drawn_like)), quarter if judging else 0)
        shown = [*chosen, *(drawn_like[place] for place in imagined)]
        wanted = to_tensor(np.stack([pictures[index] for index in shown])).to(DEVICE)
        known = latents[chosen].float().to(DEVICE)
        with half_precision():
            given, off = encoded(wanted[: len(chosen) - quarter], known, rng)
            if judging:
                given = torch.cat([given, drawn[imagined].float().to(DEVICE) / factor])
                judged = done >= JUDGED_FROM
                loss, made = decoder_loss(vae, before, discriminator, given, wanted, len(chosen), judged=judged)
            else:
                made = vae.decode(given).sample.float()
                loss = LIKENESS_WEIGHT * reconstruction_loss(made, wanted)
        return loss + DECIBELS_WEIGHT * decibels_lost(made, wanted[: len(chosen)]) + NEARNESS_WEIGHT * off

    groups = [*groups_of(vae), Group(list(discriminator.parameters()), factor=2.0)]
    train("sharper", groups, SCHEDULE, loss_at, lambda: vae.save_pretrained(REFINED_VAE_DIR))
    if TEAM.rank == 0:
        print_quality(AutoencoderKL.from_pretrained(REFINED_VAE_DIR).to(DEVICE))
