"""The switches of inference: none changes a picture, compiled code serves every request, and faults leave nothing."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters
from torch.nn.attention import SDPBackend

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment, InferenceSettings
from photomaker.weights.checkpoints import make_scheduler
from photomaker.weights.inference import accelerate, prefer_attention, warm_up

GOLDEN = Path(__file__).parents[1] / "golden"
PROMPT = "portrait photo of a man img, film grain"
PHOTOS = [Image.open(path).convert("RGB") for path in sorted((GOLDEN / "photos").iterdir())]
SIZE = {"height": 64, "width": 64}
EVERYTHING: dict[str, Any] = {"channels_last": True, "fuse_projections": True, "compile_vae": True}


def load(adapter: str = "photomaker-v1.bin") -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / adapter)


def made(pipe: PhotoMakerPipeline, photos: int = 1, **options: Any) -> torch.Tensor:
    """Latents of a request with its own seeds."""
    images = options.setdefault("num_images", 1)
    options = {"num_inference_steps": 4, "start_merge_step": 1, **SIZE} | options
    seeds = [torch.Generator().manual_seed(seed) for seed in range(images)]
    latents = pipe(PROMPT, PHOTOS[:photos], generator=seeds, output_type="latent", **options)
    assert isinstance(latents, torch.Tensor)
    return latents


def deployment(settings: InferenceSettings) -> Deployment:
    pipelines = {"photomaker": {"base": str(GOLDEN / "base"), "adapter": str(GOLDEN / "photomaker-v1.bin")}}
    return Deployment.model_validate({"device": "cpu", "pipelines": pipelines, "inference": settings, **SIZE})


@pytest.fixture(scope="module")
def plain() -> torch.Tensor:
    return made(load(), num_images=2)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
class TestCompiled:
    @pytest.mark.parametrize(
        ("switches", "expected"),
        [
            # The UNet, or its repeated block, for a batch of one and for any other; the VAE's decoder.
            ({"compile": "regional"}, 3),
            ({"compile": "regional", "project_prompts_once": True}, 3),
            ({"compile": "regional", "compile_resnets": True}, 17),
            ({"compile": "whole"}, 3),
        ],
        ids=str,
    )
    def test_no_request_compiles_anything(self, switches: dict[str, Any], expected: int, plain: torch.Tensor) -> None:
        settings = InferenceSettings(**switches, **EVERYTHING)
        pipe = load()
        accelerate(pipe, settings, backend="eager")
        lines: list[str] = []
        warm_up(pipe, deployment(settings), lines.append)
        assert [line.split(" in ")[0] for line in lines] == ["warmed up"]
        graphs = counters["stats"]["unique_graphs"]
        assert graphs == expected

        torch.testing.assert_close(made(pipe, num_images=2), plain, atol=1e-3, rtol=0)
        for images in (1, 2, 3, 4):
            for guidance in (0.5, 5.0):
                made(pipe, num_images=images, guidance_scale=guidance, photos=images, num_inference_steps=2 + images)
                made(pipe, num_images=images, guidance_scale=guidance, initial_image=PHOTOS[0])
        pipe(PROMPT, PHOTOS, num_images=2, num_inference_steps=2, **SIZE)
        with ThreadPoolExecutor(1) as worker:  # as the app calls it
            worker.submit(made, pipe, num_images=2).result()
        for scheduler in ("ddim", "euler-a"):
            other = make_scheduler(scheduler, dict(pipe.text2img.scheduler.config))
            pipe.text2img.scheduler = pipe.img2img.scheduler = other
            made(pipe, num_images=2)
        second = load("photomaker-v2.bin")
        accelerate(second, settings, backend="eager")
        made(second, num_images=3, face_embeddings=torch.zeros(1, 512))
        assert counters["stats"]["unique_graphs"] == graphs
        assert not counters["graph_break"]

    def test_a_shared_network_is_accelerated_once(self, plain: torch.Tensor) -> None:
        pipe = load()
        twin = PhotoMakerPipeline(pipe.text2img, pipe.id_encoder)
        settings = InferenceSettings(compile="regional", **EVERYTHING)
        accelerate(pipe, settings, backend="eager")
        blocks = [module for module in pipe.text2img.unet.modules() if "forward" in vars(module)]
        forwards = [vars(block)["forward"] for block in blocks]
        hooks = [len(block._forward_pre_hooks) for block in blocks]
        accelerate(twin, settings, backend="eager")
        assert [vars(block)["forward"] for block in blocks] == forwards
        assert [len(block._forward_pre_hooks) for block in blocks] == hooks == [1] * len(blocks)
        torch.testing.assert_close(made(twin, num_images=2), plain, atol=1e-3, rtol=0)


@pytest.mark.parametrize("switch", ["channels_last", "fuse_projections"])
def test_a_switch_changes_no_picture(switch: str, plain: torch.Tensor) -> None:
    pipe = load()
    accelerate(pipe, InferenceSettings.model_validate({switch: True}))
    torch.testing.assert_close(made(pipe, num_images=2), plain, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kernel", ["flash", "cudnn", "math"])
def test_attention_kernels_agree(kernel: str, plain: torch.Tensor) -> None:
    pipe = load()
    try:
        accelerate(pipe, InferenceSettings.model_validate({"attention": kernel}))
        torch.testing.assert_close(made(pipe, num_images=2), plain, atol=1e-3, rtol=0)
    finally:
        prefer_attention("sdpa")


@pytest.mark.parametrize(
    ("name", "first"),
    [("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION), ("math", SDPBackend.MATH)],
)
def test_the_preferred_attention_kernel_comes_first(name: str, first: SDPBackend) -> None:
    order = torch._C._get_sdp_priority_order()
    try:
        prefer_attention("flash")
        prefer_attention(name)
        assert torch._C._get_sdp_priority_order()[0] == int(first)
    finally:
        prefer_attention("sdpa")
    assert torch._C._get_sdp_priority_order() == order
    assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_a_cpu_without_compilation_is_not_warmed_up() -> None:
    lines: list[str] = []
    warm_up(load(), deployment(InferenceSettings()), lines.append)
    assert not lines


def test_a_prompt_is_projected_once_before_the_merge_and_once_after() -> None:
    settings = InferenceSettings(fuse_projections=True, project_prompts_once=True)
    pipe = load()
    expected = made(pipe, num_images=2)
    accelerate(pipe, settings)
    accelerate(PhotoMakerPipeline(pipe.text2img, pipe.id_encoder), settings)  # a second pipeline with this UNet
    calls: list[torch.Tensor] = []
    blocks = [block for block in pipe.text2img.unet.modules() if hasattr(block, "prompt_projection")]
    for block in blocks:
        block.prompt_projection.register_forward_hook(lambda _, __, projected: calls.append(projected))  # type: ignore
    torch.testing.assert_close(made(pipe, num_images=2), expected, atol=1e-4, rtol=0)
    assert len(calls) == 2 * len(blocks) > 0
    kept = [weakref.ref(projected) for projected in calls]
    calls.clear()
    gc.collect()
    assert not any(reference() is not None for reference in kept)  # of a request that is over
    torch.testing.assert_close(made(pipe, num_images=2), expected, atol=1e-4, rtol=0)


def test_a_prompt_is_projected_once_more_where_guidance_ends() -> None:
    pipe = load()
    pipe.guidance_stop = 0.5
    expected = made(pipe, num_images=2)
    accelerate(pipe, InferenceSettings(fuse_projections=True, project_prompts_once=True))
    batches: list[int] = []
    block = next(block for block in pipe.text2img.unet.modules() if hasattr(block, "prompt_projection"))
    block.prompt_projection.register_forward_hook(lambda _, __, projected: batches.append(len(projected)))  # type: ignore
    torch.testing.assert_close(made(pipe, num_images=2), expected, atol=1e-4, rtol=0)
    assert batches == [4, 4, 2]


def test_pictures_are_decoded_one_by_one() -> None:
    pipe = load()
    batches: list[int] = []
    pipe.text2img.vae.decoder.register_forward_pre_hook(lambda _, args: batches.append(args[0].shape[0]))
    pipe(PROMPT, PHOTOS[:1], num_inference_steps=1, num_images=4, **SIZE)
    assert batches == [1] * 4


class TestOutOfMemory:
    def test_in_a_step(self, plain: torch.Tensor) -> None:
        self.fails(lambda pipe: pipe.text2img.unet.conv_out, plain)

    def test_in_the_decoder(self, plain: torch.Tensor) -> None:
        self.fails(lambda pipe: pipe.text2img.vae.decoder, plain)

    def fails(self, network: Any, plain: torch.Tensor) -> None:
        """The device refuses memory inside a network: the error rises, nothing stays, the next request is right."""
        pipe = load()
        seen: list[weakref.ref[torch.Tensor]] = []

        def refuse(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            seen.append(weakref.ref(args[0]))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        hook = network(pipe).register_forward_pre_hook(refuse)
        with pytest.raises(torch.OutOfMemoryError):
            pipe(PROMPT, PHOTOS[:1], num_inference_steps=2, **SIZE)
        hook.remove()
        gc.collect()
        assert [reference() for reference in seen] == [None]
        torch.testing.assert_close(made(pipe, num_images=2), plain, atol=1e-4, rtol=0)
