"""What is compiled at SDXL's own size: the real pipelines and their loop, the full-size networks without numbers."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor, nn
from torch._dynamo.utils import counters

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment, InferenceSettings
from photomaker.method.conditioning import Conditioning, Embedding, IDPrompt
from photomaker.weights.checkpoints import make_scheduler
from photomaker.weights.inference import FURTHER_WARM_UPS, WARM_UPS, accelerate

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
SIDE = 1024
# One block in a row where a network has several, which share their graphs.
SHALLOW = {"transformer_layers_per_block": 1}
SHALLOWEST = {"transformer_layers_per_block": 1, "layers_per_block": 1}

sys.path.append(str(ROOT / "benchmarks"))
import full_size  # noqa: E402


class FullSize(nn.Module):
    """A UNet without numbers in a pipeline with them: its inputs keep shape, strides and dtype; its output is zero."""

    device = torch.device("cpu")
    dtype = torch.bfloat16

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        self.add_embedding = unet.add_embedding

    @property
    def config(self) -> Any:
        return self.unet.config

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        (made,) = self.unet(*map(without_numbers, args), **{key: without_numbers(v) for key, v in kwargs.items()})
        return (torch.zeros(made.shape, dtype=made.dtype),)


def without_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_numbers(item) for key, item in value.items()}
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return value


def meta(cls: Any, config: dict[str, Any]) -> Any:
    with torch.device("meta"):
        return cls(**config).to(torch.bfloat16).eval().requires_grad_(False)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:Dynamo detected a call to a .functools.lru_cache.:UserWarning"
    ),  # diffusers' own
    pytest.mark.usefixtures("fresh_compiler"),
]


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


@pytest.mark.parametrize(
    ("switches", "expected", "everything"),
    [
        # For a batch of one and for any other: transformer blocks of two widths, or what else is compiled; the decoder.
        ({}, 2 * 2 + 1, True),
        ({"project_prompts_once": True}, 2 * 2 + 1, False),
        ({"compile_resnets": True}, 2 * (2 + 13) + 1, False),
        ({"compile": "whole"}, 2 * 1 + 1, False),
    ],
    ids=str,
)
def test_no_request_compiles_anything_that_the_start_has_not(
    switches: dict[str, Any], expected: int, everything: bool
) -> None:
    whole = switches.get("compile") == "whole"  # nothing is shared, so depth adds time alone
    pipe, vae, run = project_s_own(switches, unet=SHALLOWEST if whole else SHALLOW)
    latents = torch.empty(1, 4, SIDE // 8, SIDE // 8, dtype=torch.bfloat16, device="meta")
    picture = Image.new("RGB", (SIDE, SIDE))
    with torch.inference_mode(), ExitStack() as stack:
        for images, guidance in WARM_UPS if everything else FURTHER_WARM_UPS:
            run(images, guidance)
        run(1, 0.0, picture)
        vae.decode(latents, return_dict=False)
        assert graphs() == expected
        stack.enter_context(torch.compiler.set_stance("fail_on_recompile"))
        for scheduler in ("euler", "ddim", "dpm++") if everything else ("euler",):
            other = make_scheduler(scheduler, dict(pipe.text2img.scheduler.config))
            pipe.text2img.scheduler = pipe.img2img.scheduler = other
            for images in (3,) if not everything else (1, 2, 3, 4) if scheduler == "euler" else (1, 3):
                for guidance in (5.0, 0.5):
                    run(images, guidance)
                    run(images, guidance, picture)
        pipe.guidance_stop = 0.5
        run(2, 5.0)
        vae.decode(latents / 2, return_dict=False)
    assert graphs() == expected
    assert not counters["graph_break"]


def test_blocks_in_a_row_share_their_graphs() -> None:
    _, _, run = project_s_own({})
    with torch.inference_mode():
        for images, guidance in FURTHER_WARM_UPS:
            run(images, guidance, steps=1)
    assert graphs() == 2 * 2


def test_what_each_further_size_adds() -> None:
    """By the default list; docs/studio.md says it. Sizes with as many latent pixels share the UNet's blocks."""
    _, vae, run = project_s_own({}, unet=SHALLOWEST, vae={"layers_per_block": 1})

    def decode(size: tuple[int, int]) -> None:
        vae.decode(
            torch.empty(1, 4, size[1] // 8, size[0] // 8, dtype=torch.bfloat16, device="meta"), return_dict=False
        )

    def warmed(size: tuple[int, int]) -> tuple[int, int]:
        """How many graphs of blocks, and of decoders, came with the size."""
        before = graphs()
        for images, guidance in FURTHER_WARM_UPS:
            run(images, guidance, size=size, steps=1)
        run(1, 0.0, Image.new("RGB", size), size=size)
        blocks = graphs() - before
        decode(size)
        return blocks, graphs() - before - blocks

    served = Deployment.read(ROOT / "fal.toml").served_sizes
    with torch.inference_mode():
        assert {size: warmed(size) for size in served} == {
            (1024, 1024): (4, 1),
            (1152, 896): (4, 1),
            (896, 1152): (0, 1),
            (1216, 832): (4, 1),
            (832, 1216): (0, 1),
            (1344, 768): (0, 1),  # as many latent pixels as 1152 x 896
            (768, 1344): (0, 1),
            (1536, 640): (4, 1),
            (640, 1536): (0, 1),
        }
        run(3, 5.0, size=(768, 1344), steps=1)
        run(3, 0.5, Image.new("RGB", (8, 8)), size=(640, 1536))
    assert graphs() == 25
    assert not counters["graph_break"]


def project_s_own(
    switches: dict[str, Any], *, unet: dict[str, Any] | None = None, vae: dict[str, Any] | None = None
) -> tuple[PhotoMakerPipeline, Any, Callable[..., None]]:
    """The pipeline as fal.toml runs it but for these switches, its full-size VAE, and what makes a request's steps.

    Networks of SDXL's own configurations but for ``unet`` and ``vae``.
    """
    inference = InferenceSettings.model_validate(Deployment.read(ROOT / "fal.toml").inference.model_dump() | switches)
    full_unet = meta(UNet2DConditionModel, full_size.UNET | (unet or {}))
    full_vae = meta(AutoencoderKL, full_size.VAE | (vae or {}))
    networks = SimpleNamespace(text2img=SimpleNamespace(unet=full_unet, vae=full_vae))
    accelerate(cast(PhotoMakerPipeline, networks), inference, backend="eager")
    pipe = around(FullSize(full_unet))

    def embedding() -> Embedding:
        return Embedding(torch.zeros(1, 77, 2048).bfloat16(), torch.zeros(1, 1280).bfloat16())

    person = embedding()
    conditioning = Conditioning(embedding(), embedding(), IDPrompt(person.sequence, person.pooled, ""))

    def run(
        images: int,
        guidance: float,
        initial_image: Image.Image | None = None,
        size: tuple[int, int] = (SIDE, SIDE),
        steps: int = 2,
    ) -> None:
        pipe.denoise(
            conditioning,
            num_inference_steps=steps,
            merge_step=0,
            guidance_scale=guidance,
            num_images=images,
            generator=[torch.Generator().manual_seed(seed) for seed in range(images)],
            initial_image=initial_image,
            height=size[1],
            width=size[0],
        )

    return pipe, full_vae, run


def around(unet: FullSize) -> PhotoMakerPipeline:
    """A pipeline of small networks but for its UNet, with latents of SDXL's size."""
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin", dtype=torch.bfloat16)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    # One channel: a picture of this size is encoded with numbers, which no processor without bfloat16 is quick at.
    small = {"block_out_channels": (1,) * 4, "latent_channels": 4, "norm_num_groups": 1, "scaling_factor": 0.13025}
    vae = AutoencoderKL(**kinds, **small, mid_block_add_attention=False).to(torch.bfloat16)
    for stock in (pipe.text2img, pipe.img2img):
        stock.unet, stock.vae = unet, vae
        stock.vae_scale_factor = 8
        stock.image_processor = VaeImageProcessor(vae_scale_factor=8)
        stock.text_encoder_2.config.projection_dim = 1280
    return pipe
