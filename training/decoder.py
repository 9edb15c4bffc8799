"""Stage `decoder`: the decoder alone, until it draws crisp pictures from latents that are not quite right.

What to draw it learns from latents whose pictures are known. What crisp is, it learns from latents that were drawn
(`drawn`) as well: nobody knows their pictures, but a discriminator tells them from renders.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.func import functional_call

from training.autoencoder import (
    HELD_OUT_PICTURES,
    LATENTS_FILE,
    REFINED_VAE_DIR,
    VAE_DIR,
    print_quality,
    reconstruction_loss,
    to_tensor,
)
from training.batches import tokenize
from training.captions import caption
from training.conditions import guess, noise
from training.device import DEVICE, half_precision, per_step
from training.drawn import DRAWN_DIR, load_drawn
from training.lengths import LENGTHS
from training.loop import Group, Schedule, groups_of, train
from training.models import BASE_DIR, Base
from training.pictures import describe, load_pictures
from training.team import TEAM

BATCH = per_step(cpu=8, gpu=32)
SCHEDULE = Schedule(
    steps=LENGTHS.decoder_samples // BATCH,
    rate=3e-4,
    matrix_rate=6e-4,
    flat=0.3,
    save_every=100,
    average_over=100,
    seed=1,
)
JUDGED_FROM = 0.1
"""The share of the stage after which the discriminator has a say."""
AMPLIFIED = 4.0
"""What the discriminator is to see although it is faint."""
LIKENESS_WEIGHT, FEATURES_WEIGHT, COLOUR_WEIGHT = 2.0, 0.1, 2.0
VERDICT_WEIGHT, VERDICT_ON_DRAWN = 0.004, 0.05
BLOT = 0.15
"""How much a region that is to be flat may be off, of colours from -1 to 1."""
LATEST_GUESS = 350
"""Of a thousand timesteps; a later guess would not yet show this picture but any that fits the caption."""


class PatchDiscriminator(nn.Module):
    """Tells patches of renders from patches of decoded latents (Isola et al., 2017).

    What is wrong with those is faint: blots in what should be flat, and soft edges. So it is shown, beside the picture,
    how each pixel stands out from those around it. Without, it learns nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(9, 32, 4, 2, 1),
                nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.GroupNorm(8, 64)),
                nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(64, 96, 3, 1, 1), nn.GroupNorm(8, 96)),
                nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(96, 128, 4, 2, 1), nn.GroupNorm(8, 128)),
                nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(128, 1, 3, 1, 1)),
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, 0.2)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures [n, 3, h, w] → what each layer makes of them; the last one is the verdict on each patch."""
        found = [torch.cat([pictures, outstanding(pictures)], 1)]
        for layer in self.layers:
            found.append(layer(found[-1]))
        return found[1:]


def outstanding(pictures: Tensor) -> Tensor:
    """How each pixel differs from the mean of the nine by nine around it, and from that of a wider region, amplified:
    [n, 6, h, w].
    """
    around = F.avg_pool2d(F.pad(pictures, (4, 4, 4, 4), mode="replicate"), 9, 1)
    wider = F.interpolate(F.avg_pool2d(pictures, 8), pictures.shape[-2:], mode="bilinear")
    return AMPLIFIED * torch.cat([pictures - around, pictures - wider], 1)


def crispness_loss(
    discriminator: PatchDiscriminator, made: Tensor, drawn: Tensor, on_wanted: Sequence[Tensor]
) -> Tensor:
    """For the decoder: to be taken for a render, and where it is known which, not for `drawn`, to look like that.

    `on_wanted`: what the discriminator's layers made of the renders, those of `made` first.
    """
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    *seen, verdict = functional_call(discriminator, frozen, (torch.cat([made, drawn]),))
    pairs = zip(seen, on_wanted[:-1], strict=True)
    features = [(one[: len(made)] - other[: len(made)].detach()).abs().mean() for one, other in pairs]
    weights = torch.tensor([VERDICT_WEIGHT] * len(made) + [VERDICT_ON_DRAWN] * len(drawn), device=made.device)
    return FEATURES_WEIGHT * torch.stack(features).mean() - (weights * verdict.mean((1, 2, 3))).mean()


def hinge_loss(on_made: Tensor, on_wanted: Tensor) -> Tensor:
    """For the discriminator: its verdicts on what the decoder made are to be below -1, on renders above 1."""
    return F.relu(1 + on_made).mean() + F.relu(1 - on_wanted).mean()


def recoloured(made: Tensor, before: Tensor) -> Tensor:
    """How far the mean colours of regions, one a latent, are from what they were; a blot may go unnoticed."""
    return F.relu(F.avg_pool2d(made - before, 8).abs() - BLOT).mean()


def decoder_loss(
    vae: AutoencoderKL,
    before: AutoencoderKL,
    discriminator: PatchDiscriminator,
    given: Tensor,
    wanted: Tensor,
    known: int,
    *,
    judged: bool,
) -> tuple[Tensor, Tensor]:
    """What is asked of a decoder and its discriminator, and the pictures that it made of the first `known` latents.

    `given`: latents of the decoder's scale [n, channels, h, w]; those from `known` on were drawn, and `wanted`
    [n, 3, 8h, 8w] only resembles them: their colours are to stay as `before`. `judged`: whether the verdicts count.
    """
    every = vae.decode(given).sample.float()
    made, made_of_drawn = every[:known], every[known:]
    on_every, on_wanted = discriminator(every.detach()), discriminator(wanted)
    loss = LIKENESS_WEIGHT * reconstruction_loss(made, wanted[:known])
    loss = loss + hinge_loss(on_every[-1], on_wanted[-1]).float()
    if len(made_of_drawn):
        with torch.no_grad():
            made_before = before.decode(given[known:]).sample.float()
        loss = loss + COLOUR_WEIGHT * recoloured(made_of_drawn, made_before)
    if judged:
        loss = loss + crispness_loss(discriminator, made, made_of_drawn, on_wanted).float()
    return loss, made


@torch.no_grad()
def guessed(base: Base, latents: Tensor, chosen: Sequence[int], rng: random.Random) -> Tensor:
    """Latents as the UNet takes them to be, somewhere in the last third of the way to the picture."""
    captions = [caption(*describe(index), rng, trigger=False) for index in chosen]
    prompts = tokenize(base, captions, [0] * len(captions)).on_device()
    noisy, timesteps, _ = noise(latents, LATEST_GUESS)
    with half_precision():
        predicted = base.predict(noisy, timesteps, *base.encode(prompts.ids, prompts.ids_2))
    return guess(noisy, timesteps, predicted.float())


def not_quite_right(base: Base | None, latents: Tensor, chosen: Sequence[int], step: int, rng: random.Random) -> Tensor:
    """Latents of pictures of the training set as the UNet takes them to be, or with a little noise, or as they are."""
    kind = random.Random(f"kind {step}").random()  # the same in each process, or one would wait for the other
    if base is not None and kind < 0.4:
        return guessed(base, latents, chosen, rng)
    return latents + rng.choice((0.1, 0.2, 0.3)) * torch.randn_like(latents) if kind < 0.7 else latents


@torch.no_grad()
def mixed(trained: AutoencoderKL, before: AutoencoderKL, share: float) -> AutoencoderKL:
    """An autoencoder between two: what is new makes drawn latents crisper, and too much of it overdoes them."""
    between = copy.deepcopy(before)
    for weight, new in zip(between.parameters(), trained.parameters(), strict=True):
        weight.lerp_(new, share)
    return between


def refine_decoder() -> None:
    """Half of each batch are latents of known pictures, the other half drawn ones, where some were drawn."""
    torch.manual_seed(1)
    pictures, latents = load_pictures(), torch.load(LATENTS_FILE, weights_only=True)
    vae, before = (AutoencoderKL.from_pretrained(VAE_DIR).to(DEVICE) for _ in range(2))
    discriminator = PatchDiscriminator().to(DEVICE)
    base = Base.load(BASE_DIR) if BASE_DIR.exists() else None
    if base is not None:
        base.freeze()
    drawn_like, drawn = load_drawn() if DRAWN_DIR.exists() else ([], latents[:0])

    def loss_at(step: int) -> Tensor:
        rng = random.Random(16 * step + TEAM.rank)
        count = len(TEAM.part_of(range(BATCH // 2 if drawn_like else BATCH)))
        chosen = [rng.randrange(len(pictures) - HELD_OUT_PICTURES) for _ in range(count)]
        known = not_quite_right(base, latents[chosen].float().to(DEVICE), chosen, step, rng)
        imagined = rng.sample(range(len(drawn_like)), count if drawn_like else 0)
        given = torch.cat([known, drawn[imagined].float().to(DEVICE)]) / vae.config.scaling_factor
        shown = [*chosen, *(drawn_like[place] for place in imagined)]
        wanted = to_tensor(np.stack([pictures[index] for index in shown])).to(DEVICE)
        with half_precision():
            loss, _ = decoder_loss(
                vae, before, discriminator, given, wanted, count, judged=step >= JUDGED_FROM * SCHEDULE.steps
            )
        return loss

    def save() -> None:
        mixed(vae, before, LENGTHS.decoder_share).save_pretrained(REFINED_VAE_DIR)

    groups = [*groups_of(vae.decoder), Group(list(vae.post_quant_conv.parameters()))]
    groups.append(Group(list(discriminator.parameters()), factor=2.0))
    train("decoder", groups, SCHEDULE, loss_at, save)
    if TEAM.rank == 0:
        print_quality(AutoencoderKL.from_pretrained(REFINED_VAE_DIR).to(DEVICE))
