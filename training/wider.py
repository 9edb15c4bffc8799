"""Stage `wider`, on request: more channels near the picture for an autoencoder that is there, which still computes the
same.

Every channel becomes two that are alike, and what reads them takes something more from the one and as much less from
the other: so nothing changes at first, but the two learn different things from then on (Net2Net, Chen et al., 2016).
The latents stay, and with them all that was trained on them; what is new is room for the stage `decoder`.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.autoencoder import VAE_DIR

WIDER = (32, 64, 96, 128)
APART = 0.5
"""How much two that are alike are told apart, of what a layer's weights deviate."""


@torch.no_grad()
def widened(vae: AutoencoderKL, channels: tuple[int, ...]) -> AutoencoderKL:
    """The same autoencoder with these channels, each as many as before or twice as many."""
    wide = AutoencoderKL.from_config({**vae.config, "block_out_channels": channels})
    now = wide.state_dict()
    wide.load_state_dict({name: fitted(weights, now[name].shape) for name, weights in vae.state_dict().items()})
    return wide


def fitted(weights: Tensor, shape: torch.Size) -> Tensor:
    """A layer's weights or biases for twice the outputs (the first dimension), twice the inputs (the second), or both.

    The norms' groups stay as many, of neighbours, so they still see the same mean and deviation.
    """
    if shape[0] == 2 * weights.shape[0]:
        weights = weights.repeat_interleave(2, 0)
    if len(shape) > 1 and shape[1] == 2 * weights.shape[1]:
        apart = APART * weights.std() * torch.randn_like(weights)
        weights = torch.stack([weights / 2 + apart, weights / 2 - apart], 2).flatten(1, 2)
    return weights


def widen() -> None:
    """Write the wider autoencoder in place of the one that was there."""
    torch.manual_seed(10)
    vae = AutoencoderKL.from_pretrained(VAE_DIR)
    widened(vae, WIDER).save_pretrained(VAE_DIR)
    print(f"wider: {tuple(vae.config['block_out_channels'])} → {WIDER}", flush=True)
