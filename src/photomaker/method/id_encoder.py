"""PhotoMaker's two ID encoders, built from their published files.

Version 1 takes the pooled output of a CLIP vision tower through two projections: one ID token a photo.
Version 2 asks that tower's patches with a perceiver whose queries come from a face-recognition embedding:
two ID tokens a photo. Both fuse their ID tokens into the class word's text embeddings with the same two MLPs.

Method: PhotoMaker, arXiv 2312.04461, section 3.2. Layout of the weights: huggingface.co/TencentARC/PhotoMaker
and …/PhotoMaker-V2. The files carry no configuration, so every size is read off the tensors.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import torch
from accelerate import init_empty_weights
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from photomaker.cores import usable_cores

HEAD_WIDTH = 64  # of CLIP's attention heads
PERCEIVER_HEAD_WIDTH = 128
THIN = 4  # times as long as wide; what lies further out than that is cut off before CLIP sees it

Weights = Mapping[str, Tensor]


def middle(photo: Image.Image) -> Image.Image:
    """A thin photo's middle: CLIP would enlarge all of it, to gigabytes, before it cuts its square out."""
    width, height = photo.size
    longest = THIN * min(width, height)
    if max(width, height) <= longest:
        return photo
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return photo.crop((left, top, left + min(width, longest), top + min(height, longest)))


class MLP(nn.Module):
    """LayerNorm, Linear, GELU, Linear; the residual where the widths allow one."""

    def __init__(self, width: int, hidden: int, out: int, *, residual: bool) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(self.layernorm(x))))
        return x + y if self.residual else y


class FuseModule(nn.Module):
    """Fuses each repetition of the class word with the ID token that stands for it (equation 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp1 = MLP(2 * width, width, width, residual=False)
        self.mlp2 = MLP(width, width, width, residual=True)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, text: Tensor, identity: Tensor) -> Tensor:
        """Text embeddings of the class tokens and ID tokens, both [n, width], to their fusion [n, width]."""
        fused = self.mlp1(torch.cat([text, identity], dim=-1)) + text
        return cast(Tensor, self.layer_norm(self.mlp2(fused)))


class IDEncoder(CLIPVisionModelWithProjection):
    """Version 1: one ID token a photo.

    Attributes:
        tokens_per_photo: ID tokens for each photo, and so repetitions of the class word.
        width: Width of an ID token; that of the UNet's cross-attention (2048 in SDXL).
        wants_faces: Whether a face-recognition embedding goes with each photo.
    """

    tokens_per_photo = 1
    wants_faces = False

    def __init__(self, weights: Weights) -> None:
        super().__init__(vision_config(weights))
        self.width = weights["fuse_module.layer_norm.weight"].shape[0]
        second = weights["visual_projection_2.weight"]
        self.visual_projection_2 = nn.Linear(second.shape[1], second.shape[0], bias=False)
        self.fuse_module = FuseModule(self.width)
        side = self.config.image_size
        self.processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})

    def preprocess(self, photos: Sequence[Image.Image]) -> Tensor:
        """Photos to pixel values [n, 3, side, side] as CLIP wants them: resized, centre-cropped, normalised."""

        def pixels(photo: Image.Image) -> Tensor:
            return cast(Tensor, self.processor(images=middle(photo), return_tensors="pt").pixel_values)

        with ThreadPoolExecutor(usable_cores()) as pool:  # Pillow resizes without the interpreter's lock
            return torch.cat(list(pool.map(pixels, photos))).to(self.device, self.dtype)

    def embed(self, pixels: Tensor, faces: Tensor | None = None) -> Tensor:
        """ID tokens [n · tokens_per_photo, width] of n photos, in their order.

        Args:
            pixels: [n, 3, side, side], from :meth:`preprocess`.
            faces: [n, 512] un-normalised recognition embeddings; version 2 only.
        """
        pooled = self.vision_model(pixels).pooler_output
        return torch.cat([self.visual_projection(pooled), self.visual_projection_2(pooled)], dim=-1)

    def fuse(self, prompt_embeds: Tensor, identity: Tensor, class_tokens: slice) -> Tensor:
        """The ID prompt: ``prompt_embeds`` [1, 77, width] with its class tokens fused with the ID tokens."""
        fused = prompt_embeds.clone()  # a cached text embedding must survive
        fused[0, class_tokens] = self.fuse_module(fused[0, class_tokens], identity.to(fused.dtype))
        return fused


class IDEncoderV2(IDEncoder):
    """Version 2: a perceiver led by face-recognition embeddings; two ID tokens a photo."""

    wants_faces = True

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self.tokens_per_photo = weights["qformer_perceiver.token_proj.2.weight"].shape[0] // self.width
        self.qformer_perceiver = FacePerceiver(weights, self.width, self.tokens_per_photo)

    def embed(self, pixels: Tensor, faces: Tensor | None = None) -> Tensor:
        if faces is None or len(faces) != len(pixels):
            raise ValueError("a version 2 adapter needs one face embedding for each photo")
        patches = self.vision_model(pixels).last_hidden_state
        tokens = self.qformer_perceiver(faces.to(self.device, self.dtype), patches)
        return cast(Tensor, tokens.flatten(0, 1))


class FacePerceiver(nn.Module):
    """Turns a face embedding into queries and answers them from the photo's patches."""

    def __init__(self, weights: Weights, width: int, tokens: int) -> None:
        super().__init__()
        hidden, face_width = weights["qformer_perceiver.token_proj.0.weight"].shape
        self.token_proj = nn.Sequential(nn.Linear(face_width, hidden), nn.GELU(), nn.Linear(hidden, width * tokens))
        self.token_norm = nn.LayerNorm(width)
        self.perceiver_resampler = Resampler(weights)

    def forward(self, faces: Tensor, patches: Tensor) -> Tensor:
        """Faces [n, 512] and patches [n, 257, hidden] to ID tokens [n, tokens, width]."""
        queries = self.token_proj(faces).unflatten(-1, (-1, self.token_norm.normalized_shape[0]))
        queries = self.token_norm(queries)
        return cast(Tensor, queries + self.perceiver_resampler(queries, patches))


class Resampler(nn.Module):
    """Perceiver layers (arXiv 2204.14198), as the version 2 file names them."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        prefix = "qformer_perceiver.perceiver_resampler"
        width, patch_width = weights[f"{prefix}.proj_in.weight"].shape
        ff = weights[f"{prefix}.layers.0.1.1.weight"].shape[0]
        depth = count(weights, f"{prefix}.layers.")
        self.proj_in = nn.Linear(patch_width, width)
        inner = weights[f"{prefix}.layers.0.0.to_q.weight"].shape[0]
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(width, inner), feed_forward(width, ff)]) for _ in range(depth)
        )
        self.proj_out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        patches = self.proj_in(patches)
        for layer in self.layers:
            attention, ff = cast(nn.ModuleList, layer)
            queries = attention(patches, queries) + queries
            queries = ff(queries) + queries
        return cast(Tensor, self.norm_out(self.proj_out(queries)))


class PerceiverAttention(nn.Module):
    """Queries attend to the patches and to themselves, with all heads together ``inner`` wide."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, patches: Tensor, queries: Tensor) -> Tensor:
        patches, queries = self.norm1(patches), self.norm2(queries)
        q = self.to_q(queries)
        k, v = self.to_kv(torch.cat([patches, queries], dim=-2)).chunk(2, dim=-1)
        q, k, v = (x.unflatten(-1, (-1, PERCEIVER_HEAD_WIDTH)).transpose(1, 2) for x in (q, k, v))
        out = functional.scaled_dot_product_attention(q, k, v)
        return cast(Tensor, self.to_out(out.transpose(1, 2).flatten(-2)))


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, hidden, bias=False),
        nn.GELU(),
        nn.Linear(hidden, width, bias=False),
    )


def vision_config(weights: Weights) -> CLIPVisionConfig:
    """The CLIP vision configuration that tensors of these shapes imply."""
    hidden = weights["vision_model.embeddings.class_embedding"].shape[0]
    patch = weights["vision_model.embeddings.patch_embedding.weight"].shape[-1]
    positions = weights["vision_model.embeddings.position_embedding.weight"].shape[0]
    return CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=weights["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=count(weights, "vision_model.encoder.layers."),
        num_attention_heads=hidden // HEAD_WIDTH,
        patch_size=patch,
        image_size=patch * math.isqrt(positions - 1),
        projection_dim=weights["visual_projection.weight"].shape[0],
    )


def count(weights: Weights, prefix: str) -> int:
    """How many numbered layers stand under a prefix."""
    return len({key[len(prefix) :].split(".")[0] for key in weights if key.startswith(prefix)})


def build_id_encoder(weights: Weights, *, dtype: torch.dtype, device: torch.device | str) -> IDEncoder:
    """The ID encoder whose tensors these are: version 2 where there is a perceiver, else version 1.

    Raises:
        ValueError: A tensor is missing, unexpected, or of another shape than its neighbours imply.
    """
    version = IDEncoderV2 if any(key.startswith("qformer_perceiver.") for key in weights) else IDEncoder
    try:
        with init_empty_weights(include_buffers=False):
            encoder = version(weights)
        # Older exports carry a buffer of positions that newer CLIP classes build themselves.
        kept = {key: value for key, value in weights.items() if not key.endswith("position_ids")}
        encoder.load_state_dict(kept, assign=True)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"not the tensors of a PhotoMaker ID encoder: {error}") from error
    return cast(IDEncoder, encoder.to(device, dtype).eval().requires_grad_(False))
