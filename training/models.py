"""The networks: Stable Diffusion XL's and PhotoMaker's classes, small."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from photomaker.method.id_encoder import PERCEIVER_HEAD_WIDTH, IDEncoder, IDEncoderV2
from training.autoencoder import LATENT_CHANNELS, REFINED_VAE_DIR, VAE_DIR
from training.avatar import IMAGE_SIZE
from training.device import DEVICE
from training.pictures import WORK
from training.tokenizer import TOKENIZER_DIRS

TEXT_WIDTH = 96
POOLED_WIDTH = 96
VISION_WIDTH = 128
VISION_LAYERS = 4
PATCH = 8
PHOTO_SIDE = 64
FACE_WIDTH = 512
"""Of a recogniser's embedding, ArcFace's and ours."""
TOKENS_PER_PHOTO_V2 = 2
PERCEIVER_LAYERS = 2

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
}


def new_unet() -> UNet2DConditionModel:
    """SDXL's layout: no attention at full resolution, cross-attention below, size and pooled text added to the time."""
    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=(96, 128, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2 * TEXT_WIDTH,
        attention_head_dim=(3, 4, 5),
        transformer_layers_per_block=1,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=6 * 16 + POOLED_WIDTH,
        use_linear_projection=True,
        norm_num_groups=16,
    )


def new_text_encoder(vocabulary: int, *, second: bool) -> CLIPTextModel | CLIPTextModelWithProjection:
    """One of SDXL's two text encoders; the second also gives the pooled embedding."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=3,
        max_position_embeddings=77,
        projection_dim=POOLED_WIDTH,
        hidden_act="gelu" if second else "quick_gelu",
        bos_token_id=0,
        eos_token_id=2,  # as SDXL's own configurations say: pool at the highest id, which is end-of-text
        pad_token_id=1,
    )
    return CLIPTextModelWithProjection(config) if second else CLIPTextModel(config)


def new_id_encoder() -> IDEncoder:
    """The product's ID encoder with fresh weights; it reads its sizes off these shapes."""
    return IDEncoder({name: torch.empty(shape) for name, shape in _encoder_shapes().items()})


def new_id_encoder_v2() -> IDEncoderV2:
    """That of version 2."""
    perceiver, width = "qformer_perceiver.perceiver_resampler", 2 * TEXT_WIDTH
    shapes = _encoder_shapes() | {
        "qformer_perceiver.token_proj.0.weight": (2 * width, FACE_WIDTH),
        "qformer_perceiver.token_proj.2.weight": (TOKENS_PER_PHOTO_V2 * width, 2 * width),
        f"{perceiver}.proj_in.weight": (width, VISION_WIDTH),
    }
    for layer in range(PERCEIVER_LAYERS):
        shapes[f"{perceiver}.layers.{layer}.0.to_q.weight"] = (PERCEIVER_HEAD_WIDTH, width)
        shapes[f"{perceiver}.layers.{layer}.1.1.weight"] = (2 * width, width)
    return IDEncoderV2({name: torch.empty(shape) for name, shape in shapes.items()})


def _encoder_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.class_embedding": (VISION_WIDTH,),
        "vision_model.embeddings.patch_embedding.weight": (VISION_WIDTH, 3, PATCH, PATCH),
        "vision_model.embeddings.position_embedding.weight": ((PHOTO_SIDE // PATCH) ** 2 + 1, VISION_WIDTH),
        "visual_projection.weight": (TEXT_WIDTH, VISION_WIDTH),
        "visual_projection_2.weight": (TEXT_WIDTH, VISION_WIDTH),
        "fuse_module.layer_norm.weight": (2 * TEXT_WIDTH,),
    }
    for layer in range(VISION_LAYERS):
        shapes[f"vision_model.encoder.layers.{layer}.mlp.fc1.weight"] = (3 * VISION_WIDTH, VISION_WIDTH)
    return shapes


@dataclass
class Base:
    """What of SDXL is trained together: the UNet and the text encoders, with their tokenizers."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    text_encoder_2: CLIPTextModelWithProjection
    tokenizer: CLIPTokenizer
    tokenizer_2: CLIPTokenizer

    @classmethod
    def new(cls) -> Base:
        tokenizers = [CLIPTokenizer.from_pretrained(directory) for directory in TOKENIZER_DIRS]
        size = len(tokenizers[0])
        networks = new_unet(), new_text_encoder(size, second=False), new_text_encoder(size, second=True)
        return cls(*(network.to(DEVICE) for network in networks), *tokenizers)

    @classmethod
    def load(cls, directory: Path) -> Base:
        tokenizers = [CLIPTokenizer.from_pretrained(path) for path in TOKENIZER_DIRS]
        return cls(
            UNet2DConditionModel.from_pretrained(directory / "unet").to(DEVICE),
            CLIPTextModel.from_pretrained(directory / "text_encoder").to(DEVICE),
            CLIPTextModelWithProjection.from_pretrained(directory / "text_encoder_2").to(DEVICE),
            *tokenizers,
        )

    def save(self, directory: Path) -> None:
        self.unet.save_pretrained(directory / "unet")
        self.text_encoder.save_pretrained(directory / "text_encoder")
        self.text_encoder_2.save_pretrained(directory / "text_encoder_2")

    def pipeline(self) -> StableDiffusionXLPipeline:
        """Stable Diffusion XL with these networks and the autoencoder."""
        return StableDiffusionXLPipeline(
            vae=AutoencoderKL.from_pretrained(REFINED_VAE_DIR if REFINED_VAE_DIR.exists() else VAE_DIR).to(DEVICE),
            text_encoder=self.text_encoder,
            text_encoder_2=self.text_encoder_2,
            tokenizer=self.tokenizer,
            tokenizer_2=self.tokenizer_2,
            unet=self.unet,
            scheduler=EulerDiscreteScheduler(**SCHEDULER),
            force_zeros_for_empty_prompt=False,  # an empty caption was trained as words, not as zeros
            add_watermarker=False,
        )

    def networks(self) -> tuple[torch.nn.Module, ...]:
        return self.unet, self.text_encoder, self.text_encoder_2

    def parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for network in self.networks() for parameter in network.parameters()]

    def freeze(self) -> None:
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def encode(self, ids: Tensor, ids_2: Tensor) -> tuple[Tensor, Tensor]:
        """Ids [n, 77] of both tokenizers → sequence [n, 77, width] and pooled [n, width], as SDXL takes them."""
        first = self.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
        second = self.text_encoder_2(ids_2, output_hidden_states=True)
        return torch.cat([first, second.hidden_states[-2]], -1), second.text_embeds

    def predict(self, noisy: Tensor, timesteps: Tensor, sequence: Tensor, pooled: Tensor) -> Tensor:
        height, width = (8 * side for side in noisy.shape[-2:])
        sizes = noisy.new_tensor([(height, width, 0, 0, height, width)]).expand(len(noisy), -1)
        added = {"text_embeds": pooled, "time_ids": sizes}
        return self.unet(noisy, timesteps, sequence, added_cond_kwargs=added).sample


def signal_levels() -> Tensor:
    """The share of signal at each of the thousand timesteps, zero at the last."""
    scheduler = {key: value for key, value in SCHEDULER.items() if key != "timestep_spacing"}
    return DDPMScheduler(**scheduler).alphas_cumprod


VISION_FILE = WORK / "vision.pt"
BASE_DIR = WORK / "base"
BASE_ID_FILE = WORK / "base-id-encoder.pt"
ADAPTER_FILE = WORK / "adapter.pt"
ADAPTER_V2_FILE = WORK / "adapter-v2.pt"
PERCEIVER_FILE = WORK / "perceiver.pt"
"""Version 2's, where there is one to start from (`warm`)."""
FACES_DIR = WORK / "faces"
PACK = "avatars"
EMBEDDINGS_FILE = WORK / "embeddings.pt"
STYLE_FILE = WORK / "style.pt"
