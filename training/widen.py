"""Stage `widen`, on request: an autoencoder with twice the channels that computes what a narrower one does.

It lets a decoder that is to draw finer go on from a trained one, while the encoder, and with it every latent that
a UNet knows, stays as it was (Net2Net, Chen et al., 2016). A stock `AutoencoderKL` has one width for both sides.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.autoencoder import VAE_DIR
from training.export import NANO


def widened(vae: AutoencoderKL, *, seed: int = 0) -> AutoencoderKL:
    """Every channel twice. The decoder's pairs share their work unevenly, so that training parts them."""
    channels = tuple(2 * width for width in vae.config.block_out_channels)
    wide = AutoencoderKL.from_config({**vae.config, "block_out_channels": channels})
    narrow, random = vae.state_dict(), torch.Generator().manual_seed(seed)
    state = {}
    for name, wanted in wide.state_dict().items():
        value = narrow[name]
        if wanted.shape[0] != value.shape[0]:
            value = value.repeat_interleave(2, 0)
        if wanted.ndim > 1 and wanted.shape[1] != value.shape[1]:
            share = torch.full((value.shape[1],), 0.5)
            if name.startswith("decoder."):
                share += 0.3 * (2 * torch.rand(value.shape[1], generator=random) - 1)
            value = _shared(value, share)
        if ".to_q." in name:
            value = value / 2**0.5  # a pair adds to the product twice, and is scaled by the root of its length
        state[name] = value
    wide.load_state_dict(state)
    return wide


def _shared(weight: Tensor, share: Tensor) -> Tensor:
    """Weights [out, in, …] for inputs in pairs: `share` [in] goes to the first of each pair, the rest to the second."""
    shares = torch.stack([share, 1 - share], 1).flatten()
    return weight.repeat_interleave(2, 1) * shares.view(1, -1, *(1,) * (weight.ndim - 2))


def widen_shipped() -> None:
    """The shipped checkpoint's autoencoder, widened, as where the stages `latents` and `decoder` start."""
    widened(AutoencoderKL.from_pretrained(NANO / "base" / "vae")).save_pretrained(VAE_DIR)
