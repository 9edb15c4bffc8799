"""How the networks run: attention, memory layout, fused projections, compilation, and a first run of every shape.

Compiled code is made once for each shape. Of one size's shapes only the batch varies (images, doubled under
guidance: 1, 2, 3, 4, 6 or 8), so the batch is compiled as a variable and 1 alone, which compilers treat as special:
two versions instead of six, at the same kernels otherwise. Everything else that a compiler would tell apart
(strides of latents after one scheduler or another, text-to-image or image-to-image) is made equal before the call.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.backends.cuda import SDPAParams, can_use_cudnn_attention, can_use_flash_attention
from torch.nn.attention import SDPBackend, sdpa_kernel

from photomaker.deployment import Deployment, InferenceSettings
from photomaker.method.conditioning import Conditioning
from photomaker.method.id_encoder import IDEncoder
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.weights.graphs import file_of, recorded, replayable
from photomaker.weights.prepared import cache_root
from photomaker.weights.prompt_projections import project_prompts_once

LARGEST_BATCH = 8  # four images under guidance
VARIANTS = 64  # of one function; beyond the compiler's own limit requests would fail
WARM_UPS = ((1, 5.0), (2, 5.0), (3, 5.0), (4, 5.0), (1, 0.0), (3, 0.0))  # (images, guidance): batches 2 4 6 8 1 3
FURTHER_WARM_UPS = ((1, 5.0), (1, 0.0))  # of a deployment's further sizes: what compilers tell apart, batches 2 and 1
WARM_UP_PHOTOS = range(1, 9)  # kernels of the ID encoder are chosen for each count; more photos are rare
WARM_UP_STEPS = 2
WARM_UP_PROMPT = "photo of a man img"

HEAD_WIDTH = 64  # of SDXL's UNet
KERNELS = {
    "flash": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "cudnn": [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "math": [SDPBackend.MATH],
}
CAN_USE = {"flash": can_use_flash_attention, "cudnn": can_use_cudnn_attention}
preferred = ExitStack()  # the process's choice of attention kernels

Log = Callable[[str], None]


def accelerate(pipe: PhotoMakerPipeline, settings: InferenceSettings, *, backend: str = "inductor") -> None:
    """Apply a deployment's switches to a pipeline; to networks that it shares with another only once.

    Args:
        pipe: The pipeline; its networks change in place.
        settings: The switches.
        backend: The compiler: torch.compile's name for it.
    """
    unet, vae = pipe.text2img.unet, pipe.text2img.vae
    prefer_attention(settings.attention)
    if settings.channels_last:
        for network in (unet, vae):
            network.to(memory_format=torch.channels_last)
    if settings.fuse_projections:
        for network in (unet, vae):
            if not any(getattr(module, "fused_projections", False) for module in network.modules()):
                network.fuse_qkv_projections()
    if settings.project_prompts_once:
        project_prompts_once(unet)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    options: dict[str, Any] = {"backend": backend}
    if backend == "inductor":
        options["mode"] = settings.compile_mode
    if settings.compile == "whole":
        compiled(unet, layout, options)
    elif settings.compile == "regional":
        blocks = [*unet._repeated_blocks, *(["ResnetBlock2D"] if settings.compile_resnets else [])]
        for module in unet.modules():
            if type(module).__name__ in blocks:
                compiled(module, layout, options)
    if settings.compile_vae:
        compiled(vae.decoder, layout, options)


def prefer_attention(name: str) -> None:
    """Which of PyTorch's attention kernels comes first; for the whole process, as PyTorch has it.

    The memory-efficient one stays behind it: the VAE's heads are too wide for the others. "sdpa": PyTorch's own order.
    """
    preferred.close()
    if name != "sdpa":
        preferred.enter_context(sdpa_kernel(KERNELS[name], set_priority=True))


def attention_refused(name: str, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this GPU cannot run the preferred kernel on the UNet's heads, and so runs another."""
    if name in CAN_USE and device.type == "cuda":
        q, k, v = (torch.empty(2, 10, 1024, HEAD_WIDTH, dtype=dtype, device=device) for _ in range(3))
        return not CAN_USE[name](SDPAParams(q, k, v, None, 0.0, False, False))
    return False


def compiled(module: nn.Module, layout: torch.memory_format, options: dict[str, Any]) -> None:
    """Compile a module's forward in one piece, its inputs settled before every call."""
    if "forward" in vars(module):
        return
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)

    def settle(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(settled(value, layout) for value in args), {k: settled(v, layout) for k, v in kwargs.items()}

    module.register_forward_pre_hook(settle, with_kwargs=True)  # outside of what is compiled
    vars(module)["forward"] = torch.compile(module.forward, fullgraph=True, dynamic=False, **options)


def settled(value: Any, layout: torch.memory_format) -> Any:
    """An input in the one layout that was compiled for, its batch marked as variable."""
    if isinstance(value, dict):
        return {key: settled(item, layout) for key, item in value.items()}
    if not isinstance(value, Tensor):
        return value
    if value.dim() == 0:
        return value.float()  # the timestep, an integer in some schedulers; the network makes it a float as well
    wanted = layout if value.dim() == 4 else torch.contiguous_format
    strides = torch.empty(value.shape, device="meta", memory_format=wanted).stride()
    if value.stride() != strides:  # is_contiguous() would leave those of a batch of one open
        value = torch.empty_strided(value.shape, strides, dtype=value.dtype, device=value.device).copy_(value)
    if value.shape[0] > 1:
        torch._dynamo.mark_dynamic(value, 0, min=2, max=LARGEST_BATCH)
    return value


def warm_up(pipe: PhotoMakerPipeline, deployment: Deployment, log: Log) -> None:
    """Run every shape that the deployment serves once, so that no request waits for a compiler or a kernel search.

    On a CPU without compilation there is nothing to warm.

    Args:
        pipe: After :func:`accelerate`.
        deployment: Which it serves.
        log: Told how long it took, and what was measured.
    """
    settings = deployment.inference
    device = pipe.text2img.unet.device
    if device.type == "cpu" and settings.compile == "off" and not settings.compile_vae:
        return
    photo = Image.new("RGB", (deployment.width, deployment.height), "gray")
    started = perf_counter()
    if attention_refused(settings.attention, pipe.text2img.unet.dtype, device):
        log(f'attention = "{settings.attention}": this GPU cannot run that kernel on these networks; another runs')
    for photos in WARM_UP_PHOTOS:
        faces = torch.zeros(photos, face_width(pipe.id_encoder)) if pipe.id_encoder.wants_faces else None
        tokens = pipe.identify([photo] * photos, faces)
    conditioning = pipe.condition(pipe.read(WARM_UP_PROMPT), "", tokens)

    first, *further = deployment.served_sizes
    with ExitStack() as stack:
        if settings.cuda_graphs != "off" and device.type == "cuda":
            unet = pipe.text2img.unet
            folder = cache_root(deployment) / "measured"
            measured = file_of(folder, unet.num_parameters(), settings, deployment.dtype, first)
            stack.enter_context(recorded(replayable(unet, settings.cuda_graphs), measured, log))
        warm_up_size(pipe, conditioning, first, WARM_UPS)
    for size in further:  # without graphs of their own: each keeps its batch's memory
        warm_up_size(pipe, conditioning, size, FURTHER_WARM_UPS)
    log(f"warmed up in {perf_counter() - started:.1f} s")


def warm_up_size(
    pipe: PhotoMakerPipeline,
    conditioning: Conditioning,
    size: tuple[int, int],
    batches: Sequence[tuple[int, float]],
) -> None:
    """Run each (images, guidance) at this (width, height), then image-to-image and the decoder."""
    width, height = size

    def run(images: int, guidance: float, initial_image: Image.Image | None = None) -> Tensor:
        return pipe.denoise(
            conditioning,
            num_inference_steps=WARM_UP_STEPS,
            merge_step=0,
            guidance_scale=guidance,
            num_images=images,
            generator=None,
            initial_image=initial_image,
            height=height,
            width=width,
        )

    for images, guidance in batches:
        run(images, guidance)
    for _ in pipe.decode(run(1, 0.0, Image.new("RGB", size, "gray"))):
        pass


def face_width(encoder: IDEncoder) -> int:
    """Of a version 2 encoder: how wide the face embeddings are that it wants."""
    return int(cast(Any, encoder).qformer_perceiver.token_proj[0].in_features)
