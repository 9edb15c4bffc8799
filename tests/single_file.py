"""A diffusers SDXL folder as one file in the original key layout, as community checkpoints are published.

The layout is that of the 2515 tensors of SDXL base 1.0's own file. A folder of any size becomes such a file, but
diffusers tells the two text encoders of a file apart by their widths alone (768 and 1280 in SDXL), so it can load
only what has two different ones; see :func:`with_unequal_text_encoders`.
"""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

Weights = dict[str, Tensor]
Renames = tuple[tuple[str, str], ...]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "conditioner.embedders.0.transformer.text_model."
OPEN_CLIP = "conditioner.embedders.1.model."

UNET_NAMES: Renames = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
)
UNET_RESNET_NAMES: Renames = (
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("time_emb_proj.", "emb_layers.1."),
    ("conv_shortcut.", "skip_connection."),
)
VAE_NAMES: Renames = (
    ("mid_block.resnets.0.", "mid.block_1."),
    ("mid_block.resnets.1.", "mid.block_2."),
    ("mid_block.attentions.0.", "mid.attn_1."),
    ("conv_norm_out.", "norm_out."),
    ("conv_shortcut.", "nin_shortcut."),
    ("group_norm.", "norm."),
    ("to_q.", "q."),
    ("to_k.", "k."),
    ("to_v.", "v."),
    ("to_out.0.", "proj_out."),
)
OPEN_CLIP_NAMES: Renames = (
    ("embeddings.token_embedding.weight", "token_embedding.weight"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("final_layer_norm.", "ln_final."),
    ("encoder.layers.", "transformer.resblocks."),
    ("layer_norm1.", "ln_1."),
    ("layer_norm2.", "ln_2."),
    ("mlp.fc1.", "mlp.c_fc."),
    ("mlp.fc2.", "mlp.c_proj."),
    ("self_attn.", "attn."),
)


def write_single_file(folder: Path, file: Path) -> None:
    """Write the folder's four networks, in their own dtype, as one ``.safetensors`` file."""
    networks = {
        UNET: unet(
            load_file(folder / "unet" / "diffusion_pytorch_model.safetensors"),
            json.loads((folder / "unet" / "config.json").read_text())["layers_per_block"],
        ),
        VAE: vae(load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")),
        CLIP: clip(load_file(folder / "text_encoder" / "model.safetensors")),
        OPEN_CLIP: open_clip(load_file(folder / "text_encoder_2" / "model.safetensors")),
    }
    save_file(
        {prefix + key: value for prefix, weights in networks.items() for key, value in weights.items()},
        file,
        metadata={"format": "pt"},
    )


def write_config_folder(folder: Path, to: Path) -> None:
    """Copy what tells how the folder is configured: all but its weights."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors"))


def with_unequal_text_encoders(folder: Path, to: Path, widths: tuple[int, int]) -> None:
    """Copy the folder, its text encoders replaced by new random ones of these widths.

    The widths add up to the UNet's cross-attention width; whatever else they had stays as it is.
    """
    shutil.copytree(folder, to)
    networks = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for (name, network), width in zip(networks.items(), widths, strict=True):
            config = CLIPTextConfig.from_pretrained(to / name, hidden_size=width)
            network(config).half().save_pretrained(to / name)


def unet(weights: Weights, layers_per_block: int) -> Weights:
    """Blocks are numbered through: every resnet with its attention is one, and so is every downsampler."""
    in_block = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
    stride = layers_per_block + 1  # a down block's downsampler, or an up block's further resnet

    def layout(key: str) -> str:
        found = in_block.fullmatch(key)
        if found is None:
            resnet = UNET_RESNET_NAMES if ".resnets." in key else ()
            return renamed(key, UNET_NAMES + resnet)
        way, block, kind, index, rest = found.groups()
        number = int(block) * stride + (stride - 1 if kind.endswith("samplers") else int(index))
        if way == "down":
            number += 1  # conv_in is the first
        if kind == "resnets":
            rest = renamed(rest, UNET_RESNET_NAMES)
        elif kind == "downsamplers":
            rest = rest.replace("conv.", "op.")
        part = {"resnets": 0, "downsamplers": 0, "attentions": 1, "upsamplers": 2}[kind]
        return f"{'input' if way == 'down' else 'output'}_blocks.{number}.{part}.{rest}"

    return {layout(key): value for key, value in weights.items()}


def vae(weights: Weights) -> Weights:
    """The decoder's blocks are numbered backwards, and the attentions' linear layers are 1 x 1 convolutions."""
    decoder_blocks = {key.split(".")[2] for key in weights if key.startswith("decoder.up_blocks.")}

    def layout(key: str) -> str:
        key = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
        key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", key)
        key = re.sub(r"up_blocks\.(\d+)\.", lambda found: f"up.{len(decoder_blocks) - 1 - int(found[1])}.", key)
        key = re.sub(r"up\.(\d+)\.resnets\.", r"up.\1.block.", key)
        key = re.sub(r"up\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample.", key)
        return renamed(key, VAE_NAMES)

    return {
        layout(key): value[:, :, None, None] if ".attentions." in key and value.ndim == 2 else value
        for key, value in weights.items()
    }


def clip(weights: Weights) -> Weights:
    """As transformers names it, with the buffer that it once saved too."""
    found = {key.removeprefix("text_model."): value for key, value in weights.items()}
    positions = len(found["embeddings.position_embedding.weight"])
    return found | {"embeddings.position_ids": torch.arange(positions)[None]}


def open_clip(weights: Weights) -> Weights:
    """Queries, keys and values are one matrix, and the projection is multiplied from the right."""
    found: Weights = {"logit_scale": torch.tensor(100.0).log()}
    for key, value in weights.items():
        name = renamed(key.removeprefix("text_model."), OPEN_CLIP_NAMES)
        if name == "text_projection.weight":
            found["text_projection"] = value.T.contiguous()
        elif ".q_proj." in key:
            parts = [value, *(weights[key.replace(".q_proj.", f".{part}_proj.")] for part in "kv")]
            found[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
        elif ".k_proj." not in key and ".v_proj." not in key:
            found[name] = value
    return found


def renamed(key: str, names: Renames) -> str:
    for old, new in names:
        key = key.replace(old, new)
    return key
