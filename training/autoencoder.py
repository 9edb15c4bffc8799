"""Stages `vae` and `latents`: the autoencoder between pictures and latents."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from diffusers import AutoencoderKL
from torch import Tensor

from training.avatar import IMAGE_SIZE
from training.device import DEVICE, half_precision, per_step
from training.loop import Schedule, groups_of, train
from training.pictures import PICTURES_EACH, WORK, load_pictures
from training.team import TEAM

LATENT_CHANNELS = 16
VAE_DIR = WORK / "vae"
REFINED_VAE_DIR = WORK / "vae-refined"
LATENTS_FILE = WORK / "latents.pt"
HELD_OUT_PICTURES = 20 * PICTURES_EACH
"""The last pictures are kept from the autoencoder, to measure it."""

VAE_SCHEDULE = Schedule(steps=12000, rate=2e-3, matrix_rate=4e-3, flat=0.3, save_every=100, average_over=200)
CROPPED = 0.5
"""The share of the stage that sees quarters of pictures, four times as many."""
BATCH = per_step(cpu=4, gpu=32)


def new_autoencoder() -> AutoencoderKL:
    """SDXL's autoencoder class, eightfold in each direction, small."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(24, 48, 96, 128),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        force_upcast=False,
    )


def to_tensor(pictures: np.ndarray) -> Tensor:
    """Bytes [n, h, w, 3] → floats [n, 3, h, w] from -1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Colour, edges and the mean colour of regions."""
    error = made - wanted
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    pooled = F.avg_pool2d(error, 8).abs().mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.25 * (across + down) + 0.5 * pooled


def _batch(pictures: np.ndarray, rng: random.Random, *, cropped: bool) -> Tensor:
    chosen = []
    for _ in TEAM.part_of(range(4 * BATCH if cropped else BATCH)):
        picture = pictures[rng.randrange(len(pictures) - HELD_OUT_PICTURES)]
        if cropped:
            row, column = rng.randrange(IMAGE_SIZE // 2 + 1), rng.randrange(IMAGE_SIZE // 2 + 1)
            picture = picture[row : row + IMAGE_SIZE // 2, column : column + IMAGE_SIZE // 2]
        chosen.append(picture)
    return to_tensor(np.stack(chosen)).to(DEVICE)


def train_autoencoder() -> None:
    """Stage `vae`: encoder and decoder together, first on quarters of pictures, then on whole ones.

    It goes on from an autoencoder that is there (`warm`).
    """
    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(VAE_DIR) if VAE_DIR.exists() else new_autoencoder()
    pictures, vae = load_pictures(), vae.to(DEVICE)

    def loss_at(step: int) -> Tensor:
        wanted = _batch(pictures, random.Random(16 * step + TEAM.rank), cropped=step < CROPPED * VAE_SCHEDULE.steps)
        with half_precision():
            posterior = vae.encode(wanted).latent_dist
            mean, log_variance = posterior.mean.float(), posterior.logvar.float()
            latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            made = vae.decode(latents).sample.float()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return reconstruction_loss(made, wanted) + 2e-4 * divergence

    train("vae", groups_of(vae), VAE_SCHEDULE, loss_at, lambda: vae.save_pretrained(VAE_DIR))
    if TEAM.rank == 0:
        print_quality(vae)


@torch.no_grad()
def print_quality(vae: AutoencoderKL) -> None:
    """Peak signal-to-noise ratio on pictures the autoencoder never saw."""
    wanted = to_tensor(np.array(load_pictures()[-HELD_OUT_PICTURES:]))
    made = torch.cat(
        [vae.decode(vae.encode(part.to(DEVICE)).latent_dist.mean).sample.cpu() for part in wanted.split(16)]
    )
    ratio = 10 * torch.log10(4 / (made.clamp(-1, 1) - wanted).square().mean((1, 2, 3)))
    print(f"autoencoder: {ratio.mean():.1f} dB on {len(wanted)} pictures never seen", flush=True)


@torch.no_grad()
def encode_pictures() -> None:
    """Stage `latents`: encode the whole training set and set the autoencoder's scaling factor."""
    pictures, vae = load_pictures(), AutoencoderKL.from_pretrained(VAE_DIR).eval().to(DEVICE)
    parts = []
    for start in range(0, len(pictures), 8):
        with half_precision():
            mean = vae.encode(to_tensor(np.array(pictures[start : start + 8])).to(DEVICE)).latent_dist.mean
        parts.append(mean.float().cpu())
        if start % 3200 == 0:
            print(f"latents {start}/{len(pictures)}", flush=True)
    latents = torch.cat(parts)
    deviation = latents.std().item()
    print("deviation by channel", [round(value, 2) for value in latents.std((0, 2, 3)).tolist()], flush=True)
    vae.register_to_config(scaling_factor=1 / deviation)
    vae.save_pretrained(VAE_DIR)
    torch.save((latents / deviation).half(), LATENTS_FILE)
