"""Random checkpoints of the real layout and size: SDXL base in float16 (6.9 GB), photomaker-v1.bin (0.8 GB).

What is in the weights does not matter to how long they take to load or to run; their layout and size do.
"""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

LORA_RANK = 64
SMALL_TOKENIZER = Path(__file__).parents[1] / "tests" / "golden" / "base" / "tokenizer"
MADE = "made"  # written last

UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "force_upcast": False,
}
TEXT: dict[str, Any] = {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 2}
TEXT_1 = TEXT | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
TEXT_2 = TEXT | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
PARTS: dict[str, tuple[type, Any]] = {
    "unet": (UNet2DConditionModel, UNET),
    "vae": (AutoencoderKL, VAE),
    "text_encoder": (CLIPTextModel, CLIPTextConfig(**TEXT_1)),
    "text_encoder_2": (CLIPTextModelWithProjection, CLIPTextConfig(**TEXT_2)),
}


def make(folder: Path) -> tuple[Path, Path]:
    """The base (a diffusers folder) and the adapter, made where they are not there yet."""
    base, adapter = folder / "base", folder / "photomaker-v1.bin"
    if (folder / MADE).exists():
        return base, adapter
    for name in PARTS:
        make_part(name, base / name)
    EulerDiscreteScheduler(**SCHEDULER).save_pretrained(base / "scheduler")
    for name, pad in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")):
        make_tokenizer(base / name, pad)
    (base / "model_index.json").write_text(json.dumps(INDEX, indent=2))
    torch.save(
        {
            "id_encoder": filled(id_encoder_shapes()),
            "lora_weights": filled(lora_shapes(base)),
        },
        adapter,
    )
    (folder / MADE).touch()
    return base, adapter


INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def empty(name: str) -> Any:
    """A part on the meta device."""
    cls, config = PARTS[name]
    with init_empty_weights():
        return cls(**config) if isinstance(config, dict) else cls(config)


def make_part(name: str, folder: Path) -> None:
    module = empty(name)
    folder.mkdir(parents=True, exist_ok=True)
    diffusion = name in ("unet", "vae")
    tensors = filled({key: tuple(value.shape) for key, value in module.state_dict().items()})
    save_file(
        tensors,
        folder / ("diffusion_pytorch_model.safetensors" if diffusion else "model.safetensors"),
        metadata={"format": "pt"},
    )
    if diffusion:
        module.save_config(folder)
    else:
        module.config.save_pretrained(folder)


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Float16 noise of these shapes; norms' scales are 1, so that activations keep their size."""
    noise = torch.randn(2**22).mul_(0.02).half()
    tensors = {}
    for key, shape in shapes.items():
        count = torch.Size(shape).numel()
        if len(shape) == 1:
            tensors[key] = torch.full(shape, float(key.endswith("weight")), dtype=torch.float16)
        else:
            tensors[key] = (
                noise.repeat(-(-count // len(noise)))[:count].reshape(shape).clone()
            )  # a slice would be saved whole
    return tensors


def id_encoder_shapes() -> dict[str, tuple[int, ...]]:
    """Those of photomaker-v1.bin: CLIP ViT-L/14, two projections, the fuse module."""
    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=768,
    )
    with init_empty_weights():
        tower = CLIPVisionModelWithProjection(config)
    shapes = {key: tuple(value.shape) for key, value in tower.state_dict().items()}
    shapes["visual_projection_2.weight"] = (1280, 1024)
    for mlp, width in (("mlp1", 4096), ("mlp2", 2048)):
        for key, shape in (
            ("layernorm.weight", (width,)),
            ("layernorm.bias", (width,)),
            ("fc1.weight", (2048, width)),
            ("fc1.bias", (2048,)),
            ("fc2.weight", (2048, 2048)),
            ("fc2.bias", (2048,)),
        ):
            shapes[f"fuse_module.{mlp}.{key}"] = shape
    shapes["fuse_module.layer_norm.weight"] = shapes["fuse_module.layer_norm.bias"] = (2048,)
    return shapes


def lora_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """A LoRA of every attention projection, in the published file's key form."""
    shapes: dict[str, tuple[int, ...]] = {}
    for key, value in empty("unet").state_dict().items():
        for projection in ("to_q", "to_k", "to_v", "to_out.0"):
            if key.endswith(f".{projection}.weight") and "attn" in key:
                out, inner = value.shape
                stem = (
                    f"unet.{key.removesuffix(f'.{projection}.weight')}.processor.{projection.removesuffix('.0')}_lora"
                )
                shapes[f"{stem}.down.weight"] = (LORA_RANK, inner)
                shapes[f"{stem}.up.weight"] = (out, LORA_RANK)
    return shapes


def make_tokenizer(folder: Path, pad: str) -> None:
    """CLIP's tokenizer in size and form: the tests' small one, filled up with made merges to 49,408 entries."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.loads((SMALL_TOKENIZER / "tokenizer.json").read_text())
    model = data["model"]
    entries = [entry for entry in model["vocab"] if not entry.startswith("<|")]
    known = set(entries)
    for left, right in made_merges():
        if len(entries) == TEXT["vocab_size"] - 2:
            break
        if left in known and right in known and left + right not in known:
            known.add(left + right)
            entries.append(left + right)
            model["merges"].append([left, right])
    entries += ["<|startoftext|>", "<|endoftext|>"]
    model["vocab"] = {entry: number for number, entry in enumerate(entries)}
    for special in data["added_tokens"]:
        special["id"] = model["vocab"][special["content"]]
    for end in ("sep", "cls"):
        token = data["post_processor"][end][0]
        data["post_processor"][end] = [token, model["vocab"][token]]
    (folder / "tokenizer.json").write_text(json.dumps(data))
    config = json.loads((SMALL_TOKENIZER / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": pad}))


def made_merges() -> Iterator[tuple[str, str]]:
    for length in (2, 3, 4):
        for letters in product(ascii_lowercase, repeat=length):
            yield "".join(letters[:-1]), letters[-1]
