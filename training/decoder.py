"""Stage `decoder`: the decoder alone, until it draws crisp pictures from latents that are not quite right."""

from __future__ import annotations

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
from training.lengths import LENGTHS
from training.loop import Group, Schedule, groups_of, train
from training.models import BASE_DIR, Base
from training.pictures import describe, load_pictures
from training.team import TEAM

BATCH = per_step(cpu=8, gpu=32)
SCHEDULE = Schedule(
    steps=LENGTHS.decoder_samples // BATCH,
    rate=3e-4,
    matrix_rate=3e-4,
    flat=0.3,
    save_every=100,
    average_over=60,
    seed=1,
)
JUDGED_FROM = 0.3
"""The share of the stage after which the discriminator has a say."""
FEATURES_WEIGHT, VERDICT_WEIGHT = 0.1, 0.01
LATEST_GUESS = 350
"""Of a thousand timesteps; a later guess would not yet show this picture but any that fits the caption."""


class PatchDiscriminator(nn.Module):
    """Tells patches of renders from patches of decoded latents (Isola et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(3, 32, 4, 2, 1),
                nn.Conv2d(32, 64, 4, 2, 1),
                nn.Conv2d(64, 96, 3, 1, 1),
                nn.Conv2d(96, 1, 3, 1, 1),
            ]
        )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures [n, 3, h, w] → what each layer makes of them; the last one is the verdict on each patch."""
        found = [pictures]
        for layer in self.layers:
            found.append(layer(found[-1] if len(found) == 1 else F.leaky_relu(found[-1], 0.2)))
        return found[1:]


def crispness_loss(discriminator: PatchDiscriminator, made: Tensor, wanted: Tensor) -> Tensor:
    """What the decoder and the discriminator learn from each other, in one sum.

    The decoder: to be taken for a render, and to cause the same features. The discriminator: the hinge loss.
    """
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    *seen, verdict = functional_call(discriminator, frozen, (made,))
    with torch.no_grad():
        *right, _ = discriminator(wanted)
    features = torch.stack([(one - other).abs().mean() for one, other in zip(seen, right, strict=True)]).mean()
    on_made, on_wanted = discriminator(made.detach())[-1], discriminator(wanted)[-1]
    hinge = F.relu(1 + on_made).mean() + F.relu(1 - on_wanted).mean()
    return FEATURES_WEIGHT * features - VERDICT_WEIGHT * verdict.mean() + 0.1 * hinge


@torch.no_grad()
def guessed(base: Base, latents: Tensor, chosen: Sequence[int], rng: random.Random) -> Tensor:
    """Latents as the UNet takes them to be, somewhere in the last third of the way to the picture."""
    captions = [caption(*describe(index), rng, trigger=False) for index in chosen]
    prompts = tokenize(base, captions, [0] * len(captions)).on_device()
    noisy, timesteps, _ = noise(latents, LATEST_GUESS)
    with half_precision():
        predicted = base.predict(noisy, timesteps, *base.encode(prompts.ids, prompts.ids_2))
    return guess(noisy, timesteps, predicted.float())


def refine_decoder() -> None:
    """From the encoder's latents, the same with a little noise, and, where a base is trained, its guesses of them."""
    torch.manual_seed(1)
    pictures, vae = load_pictures(), AutoencoderKL.from_pretrained(VAE_DIR).to(DEVICE)
    discriminator = PatchDiscriminator().to(DEVICE)
    base = Base.load(BASE_DIR) if BASE_DIR.exists() else None
    if base is not None:
        base.freeze()
    latents = torch.load(LATENTS_FILE, weights_only=True)

    def loss_at(step: int) -> Tensor:
        rng = random.Random(16 * step + TEAM.rank)
        chosen = [rng.randrange(len(pictures) - HELD_OUT_PICTURES) for _ in TEAM.part_of(range(BATCH))]
        given = latents[chosen].float().to(DEVICE)
        kind = random.Random(f"kind {step}").random()  # the same in each process, or one would wait for the other
        if base is not None and kind < 0.4:
            given = guessed(base, given, chosen, rng)
        elif kind < 0.7:
            given = given + rng.choice((0.1, 0.2, 0.3)) * torch.randn_like(given)
        wanted = to_tensor(np.stack([pictures[index] for index in chosen])).to(DEVICE)
        with half_precision():
            made = vae.decode(given / vae.config.scaling_factor).sample.float()
            judged = crispness_loss(discriminator, made, wanted).float()
        loss = reconstruction_loss(made, wanted)
        return loss + judged if step >= JUDGED_FROM * SCHEDULE.steps else loss + 0 * judged

    groups = [*groups_of(vae.decoder), Group(list(vae.post_quant_conv.parameters()))]
    groups.append(Group(list(discriminator.parameters()), factor=0.3))
    train("decoder", groups, SCHEDULE, loss_at, lambda: vae.save_pretrained(REFINED_VAE_DIR))
    if TEAM.rank == 0:
        print_quality(vae)
