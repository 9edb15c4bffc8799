"""One pass of the UNet under each switch, for one image and for four: which switch pays on this card."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from inference import bare
from torch import nn

from photomaker import PhotoMakerPipeline
from photomaker.deployment import InferenceSettings
from photomaker.weights.graphs import Recording
from photomaker.weights.inference import accelerate

from .measuring import Run, device, median, synchronize, timed
from .subject import deployment, unet_config

EVERYTHING = {"channels_last": True, "fuse_projections": True}
VARIANTS: dict[str, tuple[float, dict[str, Any]]] = {  # seconds that it needs, switches
    "eager (stock)": (10, {}),
    "eager, channels-last": (10, {"channels_last": True}),
    "eager, channels-last, fused": (10, EVERYTHING),
    "eager, channels-last, fused, prompts projected once": (10, EVERYTHING | {"project_prompts_once": True}),
    "regional": (40, EVERYTHING | {"compile": "regional"}),
    "regional, prompts projected once": (40, EVERYTHING | {"compile": "regional", "project_prompts_once": True}),
    "regional, resnets too": (80, EVERYTHING | {"compile": "regional", "compile_resnets": True}),
    "regional, attention cudnn": (40, EVERYTHING | {"compile": "regional", "attention": "cudnn"}),
    "regional, attention flash": (40, EVERYTHING | {"compile": "regional", "attention": "flash"}),
    "whole": (120, EVERYTHING | {"compile": "whole"}),
}


def measure(run: Run) -> None:
    for name, (needs, switches) in VARIANTS.items():
        if run.small and switches.get("compile", "off") != "off":
            continue
        with run.part(name, needs=0 if run.small else needs) as worth:
            if worth:
                variant(run, name, switches)


def variant(run: Run, name: str, switches: dict[str, Any]) -> None:
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    settings = deployment(run)
    torch.manual_seed(0)
    with torch.device(device()):
        unet = UNet2DConditionModel.from_config(unet_config(run))
    unet = unet.to(getattr(torch, settings.dtype)).eval().requires_grad_(False)
    vae = nn.Module()
    vae.fused_projections = cast(Any, True)
    pipe = SimpleNamespace(text2img=SimpleNamespace(unet=unet, vae=vae))
    accelerate(cast(PhotoMakerPipeline, pipe), InferenceSettings(**switches))
    factor = 4 if run.small else 8
    start = time.perf_counter()
    works: dict[int, Callable[[], None]] = {images: bare(unet, images, 1, settings, factor) for images in (1, 4)}
    for work in works.values():
        work()
    synchronize()
    values: dict[str, Any] = {"first_seconds": time.perf_counter() - start}
    for images, work in works.items():
        values[f"images_{images}_milliseconds"] = 1e3 * median(work, 10, 2)
        values[f"images_{images}_launched_milliseconds"] = 1e3 * timed(work)[1]
    if torch.cuda.is_available() and not switches.get("project_prompts_once"):
        for images in works:
            recording, inputs = recorded(unet, settings.height // factor, images)
            values[f"images_{images}_graph_milliseconds"] = 1e3 * median(lambda: recording(inputs), 10, 2)  # noqa: B023
            del recording
    run.row(f"a pass: {name}", **values)


@torch.inference_mode()
def recorded(unet: Any, side: int, images: int) -> tuple[Recording, tuple[torch.Tensor, ...]]:
    """The pass as a CUDA graph."""
    config = unet.config
    like = next(unet.parameters())
    batch = 2 * images
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    inputs = (
        like.new_zeros(batch, config.in_channels, side, side),
        torch.tensor(500.0, device=like.device),
        like.new_zeros(batch, 77, config.cross_attention_dim),
        like.new_zeros(batch, pooled),
        like.new_zeros(batch, 6),
    )
    return Recording(unet, inputs, torch.cuda.graph_pool_handle()), inputs
