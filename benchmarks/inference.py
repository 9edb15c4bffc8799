"""Pictures by stock diffusers, by a deployment, and by bare passes of the UNet (the limit), side by side.

    python benchmarks/inference.py [--deployment fal.toml] [--steps 30] [--repeat 3]

Without a deployment file: the tests' small checkpoint, with the switches of this project's fal.toml. The three take
turns in one process, so that a busy or throttling machine slows all alike; first runs, which compile, are not counted.
The deployment's picture costs what stock diffusers' does not do: photos through the ID encoder, a second prompt.
"""

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from torch import nn

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment
from photomaker.weights import prepared
from photomaker.weights.inference import accelerate, warm_up

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
PROMPT = "portrait photo of a man img, film grain"
TEXT = PROMPT.replace(" img", "")


def deployment(file: Path | None) -> Deployment:
    if file is not None:
        return Deployment.read(file)
    switches = Deployment.read(ROOT / "fal.toml").inference
    pipeline = {"base": str(GOLDEN / "base"), "adapter": str(GOLDEN / "photomaker-v1.bin")}
    return Deployment.model_validate(
        {"dtype": "float32", "height": 192, "width": 192, "inference": switches, "pipelines": {"photomaker": pipeline}}
    )


def timed(work: Callable[[], Any]) -> float:
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.inference_mode()  # compilers tell tensors made outside of it from those of a request
def bare(unet: nn.Module, images: int, steps: int, settings: Deployment, factor: int) -> Callable[[], None]:
    """As many passes of the UNet as a request has, on its shapes, and nothing else."""
    config: Any = unet.config
    like = next(unet.parameters())
    batch = 2 * images
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    latents = like.new_zeros(batch, config.in_channels, settings.height // factor, settings.width // factor)
    conditions = {
        "encoder_hidden_states": like.new_zeros(batch, 77, config.cross_attention_dim),
        "added_cond_kwargs": {"text_embeds": like.new_zeros(batch, pooled), "time_ids": like.new_zeros(batch, 6)},
    }
    timestep = torch.tensor(500.0, device=like.device)

    @torch.inference_mode()
    def passes() -> None:
        for _ in range(steps):
            unet(latents, timestep, **conditions, return_dict=False)

    return passes


def stock(pipe: PhotoMakerPipeline) -> StableDiffusionXLPipeline:
    """The same weights in a pipeline as diffusers makes it: eager, no switches."""
    components = {name: copy.deepcopy(part) for name, part in pipe.text2img.components.items()}
    plain = StableDiffusionXLPipeline(**components, add_watermarker=False)
    for network in (plain.unet, plain.vae):
        network.to(memory_format=torch.contiguous_format)  # prepared weights may be channels-last
    plain.set_progress_bar_config(disable=True)
    return plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployment", type=Path)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    settings = deployment(arguments.deployment)
    pipe = next(iter(prepared.open_pipelines(settings, log=print).values()))
    plain = stock(pipe)
    accelerate(pipe, settings.inference)
    warm_up(pipe, settings, print)
    photos = [Image.open(path).convert("RGB") for path in sorted((GOLDEN / "photos").iterdir())]
    size = {"height": settings.height, "width": settings.width, "num_inference_steps": arguments.steps}
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    print(f"\n{card}; {settings.dtype}, {settings.width} x {settings.height}, {arguments.steps} steps, guidance 5")
    print(f"{settings.inference}; medians of {arguments.repeat}\n")
    print("| images | stock diffusers, s | this deployment, s | bare UNet passes, s | stock / this | this / bare |")
    print("|---|---|---|---|---|---|")
    for images in (1, 4):
        works: list[Callable[[], Any]] = [
            lambda n=images: plain(TEXT, num_images_per_prompt=n, guidance_scale=5.0, **size),  # type: ignore[misc]
            lambda n=images: pipe(PROMPT, photos, num_images=n, guidance_scale=5.0, **size),  # type: ignore[misc]
            bare(pipe.text2img.unet, images, arguments.steps, settings, pipe.text2img.vae_scale_factor),
        ]
        for work in works:
            work()
        rounds = [[timed(work) for work in works] for _ in range(arguments.repeat)]
        eager, ours, limit = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(f"| {images} | {eager:.2f} | {ours:.2f} | {limit:.2f} | {eager / ours:.2f} | {ours / limit:.2f} |")


if __name__ == "__main__":
    main()
