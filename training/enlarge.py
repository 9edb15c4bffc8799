"""Stage `enlarge`, on request, after `polish`: latents a little larger on their way to the decoder.

Guidance makes drawn latents deviate more than those of renders, and that of a better base, or that ends early, less so.
A decoder that learned from the former's draws the latter's flat and soft, unless they are as large.

The factor comes on top of what the autoencoder has: the decoder that ships learned what it had (`sharper`).
"""

from __future__ import annotations

import copy

import torch
from diffusers import AutoencoderKL

from training.autoencoder import REFINED_VAE_DIR, VAE_DIR

FACTOR = 1.016
"""The best of a few for the UNet that ships; beyond it, more pictures pass for clean, and they are further from
renders."""


@torch.no_grad()
def enlarged(vae: AutoencoderKL, factor: float) -> AutoencoderKL:
    """The same autoencoder, to whose decoder latents are so many times as large: the first convolution sees to it."""
    larger = copy.deepcopy(vae)
    larger.post_quant_conv.weight.mul_(factor)
    return larger


def enlarge() -> None:
    """Write it as the stage `decoder` writes its own, which takes its place if it follows."""
    enlarged(AutoencoderKL.from_pretrained(VAE_DIR), FACTOR).save_pretrained(REFINED_VAE_DIR)
    print(f"enlarge: latents times {FACTOR}", flush=True)
