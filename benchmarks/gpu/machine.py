"""The card's ceilings: copies, matrix products, attention; and the floor that the networks' FLOPs set."""

import platform
import subprocess
from contextlib import suppress
from functools import partial
from importlib.metadata import version

import full_size
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from .measuring import Run, card, device, median
from .subject import unet_config

ATTENTION = {  # heads, queries, keys, width
    "64 x 64, self": (10, 4096, 4096, 64),
    "32 x 32, self": (20, 1024, 1024, 64),
    "64 x 64, cross": (10, 4096, 77, 64),
    "VAE": (1, 16384, 16384, 512),
}
KERNELS = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


def measure(run: Run) -> None:
    libraries = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    run.row("machine", card=card(), python=platform.python_version(), cuda=torch.version.cuda, **libraries)
    if torch.cuda.is_available():
        with run.part("driver"):
            query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.limit", "--format=csv,noheader"]
            run.row("driver", said=subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip())
    shrink = 64 if run.small else 1
    with run.part("copy"):
        given = torch.empty(2**32 // shrink**2, dtype=torch.uint8, device=device())
        taken = torch.empty_like(given)
        seconds = median(lambda: taken.copy_(given), 5, 2)
        run.row("copy, read and written", terabytes_per_second=2 * len(given) / seconds / 1e12)
    with run.part("matrix product"):
        side = 8192 // shrink
        one, two = (torch.randn(side, side, device=device(), dtype=torch.bfloat16) for _ in range(2))
        run.row("bf16 matrix product", tflops=2 * side**3 / median(lambda: one @ two, 10, 3) / 1e12)
    with run.part("floor"):
        run.row("FLOPs, in 1e12", **flops(run))
    for name, (heads, queries, keys, width) in ATTENTION.items():
        with run.part(f"attention {name}"):
            batch = 1 if name == "VAE" else 2
            q, k = (
                torch.randn(batch, length // shrink, heads, width, device=device(), dtype=torch.bfloat16).transpose(
                    1, 2
                )
                for length in (queries, max(keys, shrink))
            )
            taken_by = {}
            for kernel in KERNELS:
                with suppress(RuntimeError), sdpa_kernel(kernel):  # not every kernel takes every shape
                    attend = partial(scaled_dot_product_attention, q, k, k)
                    taken_by[kernel.name] = 1e3 * median(attend, 5, 2)
            run.row(f"attention {name}, milliseconds", **taken_by)


def flops(run: Run) -> dict[str, float]:
    """Of a pass of the UNet for one image under guidance, and of decoding a picture; counted, not measured."""
    side = 16 if run.small else 128
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(run)).to(torch.bfloat16)
        vae = AutoencoderKL(**full_size.VAE).to(torch.bfloat16)
        config = unet.config
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        empty = partial(torch.empty, dtype=torch.bfloat16)
        added = {"text_embeds": empty(2, pooled), "time_ids": empty(2, 6)}
        prompt = empty(2, 77, config.cross_attention_dim)
        latents = empty(2, config.in_channels, side, side)
        with torch.no_grad(), FlopCounterMode(display=False) as passes:
            unet(latents, torch.tensor(1.0), encoder_hidden_states=prompt, added_cond_kwargs=added)
        with torch.no_grad(), FlopCounterMode(display=False) as decoded:
            vae.decode(empty(1, 4, side, side))
    return {"pass": passes.get_total_flops() / 1e12, "decoding": decoded.get_total_flops() / 1e12}
