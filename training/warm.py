"""Stage `warm`, on request, after `render`: start from the shipped checkpoint's networks instead of from nothing.

The text encoders keep every word that both vocabularies have; what no longer has the shape of before starts fresh.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from training.autoencoder import VAE_DIR
from training.export import NANO
from training.models import BASE_DIR, PERCEIVER_FILE, VISION_FILE, Base
from training.recogniser import embed_pictures, shipped_recogniser


@torch.no_grad()
def start_from_shipped() -> None:
    """Write the autoencoder, the base, the ID encoder (in place of the stage `vision`), version 2's perceiver, and the
    embeddings of the training set's photos by the recogniser that ships.
    """
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
    base.save(BASE_DIR)
    AutoencoderKL.from_pretrained(shipped / "vae").save_pretrained(VAE_DIR)
    for adapter, part, target in (
        ("photomaker-v1.safetensors", "id_encoder.", VISION_FILE),
        ("photomaker-v2.safetensors", "id_encoder.qformer_perceiver.", PERCEIVER_FILE),
    ):
        weights = load_file(NANO / adapter).items()
        torch.save({name.removeprefix(part): value.float() for name, value in weights if part in name}, target)
    embed_pictures(shipped_recogniser())
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
