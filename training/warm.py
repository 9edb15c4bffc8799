"""Stage `warm`, on request: start the base from the shipped checkpoint's instead of from nothing.

The second edition's latents have other channels and places, so the UNet's first and last convolutions start fresh; what
it knows of faces and words stays. The text encoders keep every word that both vocabularies have. The first edition
keeps its autoencoder.
"""

from __future__ import annotations

import shutil

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from photomaker.weights.sources import read_json
from training.autoencoder import LATENT_CHANNELS, VAE_DIR
from training.export import NANO
from training.models import VISION_FILE, WARM_DIR, Base


@torch.no_grad()
def start_from_shipped() -> None:
    """Write the networks with which the stage `base` then starts, and the ID encoder in place of the stage `vision`."""
    torch.manual_seed(9)
    base, shipped = Base.new(), NANO / "base"
    adopt(base.unet, UNet2DConditionModel.from_pretrained(shipped / "unet"))
    before = CLIPTokenizer.from_pretrained(shipped / "tokenizer").get_vocab()
    now = base.tokenizer.get_vocab()
    shared = [(number, before[word]) for word, number in now.items() if word in before]
    for encoder, kind, folder in (
        (base.text_encoder, CLIPTextModel, "text_encoder"),
        (base.text_encoder_2, CLIPTextModelWithProjection, "text_encoder_2"),
    ):
        trained = kind.from_pretrained(shipped / folder)
        adopt(encoder, trained)
        ours, theirs = encoder.get_input_embeddings().weight, trained.get_input_embeddings().weight
        for number, old in shared:
            ours[number] = theirs[old]
    base.save(WARM_DIR)
    if read_json(shipped / "vae" / "config.json")["latent_channels"] == LATENT_CHANNELS:
        shutil.copytree(shipped / "vae", VAE_DIR, dirs_exist_ok=True)
    adapter = load_file(NANO / "photomaker-v1.safetensors")
    torch.save(
        {name.removeprefix("id_encoder."): value.float() for name, value in adapter.items() if "id_encoder." in name},
        VISION_FILE,
    )
    print(f"warm: {len(shared)} of {len(now)} words kept", flush=True)


def adopt(network: nn.Module, trained: nn.Module) -> None:
    """Copy every weight whose shape fits."""
    theirs = trained.state_dict()
    state = network.state_dict()
    for name, value in state.items():
        if name in theirs and theirs[name].shape == value.shape:
            state[name] = theirs[name].float()
        else:
            print(f"warm: {name} starts fresh", flush=True)
    network.load_state_dict(state)
