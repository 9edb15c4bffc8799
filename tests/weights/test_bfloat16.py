"""In bfloat16 no switch takes a request's latents further away than bfloat16's own rounding does."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from photomaker import PhotoMakerPipeline
from photomaker.deployment import InferenceSettings
from photomaker.method.conditioning import Conditioning
from photomaker.weights.inference import accelerate
from tests.gpu.test_serving import GOLDEN, PHOTOS, PROMPT

INDEPENDENT = 2**0.5  # how much further apart two results are that round independently than each is from the exact one
MODES: dict[str, dict[str, Any]] = {
    "text-to-image": {},
    "image-to-image": {"initial_image": PHOTOS[0], "initial_image_strength": 0.8},
}


def load() -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin", dtype=torch.bfloat16)


def latents(
    pipe: PhotoMakerPipeline, *, early: bool = False, initial_image: Image.Image | None = None, **options: Any
) -> Tensor:
    """Of a request whose photos are known, or ``early``: not before the first step that needs them."""
    prompts = pipe.read(PROMPT)

    def identity() -> Any:
        return pipe.condition_on_identity(prompts, pipe.identify(PHOTOS[:2]))

    text_only, negative = pipe.condition_on_text(prompts, "")
    made = pipe.denoise(
        Conditioning(text_only, negative, identity if early else identity()),
        num_inference_steps=5,
        merge_step=2,
        guidance_scale=5.0,
        num_images=1,
        generator=[torch.Generator().manual_seed(3)],
        initial_image=initial_image,
        height=64,
        width=64,
        **options,
    )
    return made.float()


def apart(one: Tensor, other: Tensor) -> float:
    """Root of the mean square difference."""
    return (one - other).square().mean().sqrt().item()


@pytest.fixture(scope="module")
def eager() -> dict[str, Tensor]:
    pipe = load()
    return {mode: latents(pipe, **options) for mode, options in MODES.items()}


@pytest.fixture(scope="module")
def noise(eager: dict[str, Tensor]) -> dict[str, float]:
    """How far bfloat16 is from the same weights and inputs in float32."""
    pipe = load()
    pipe.text2img.to(torch.float32)
    pipe.id_encoder.float()
    return {mode: apart(latents(pipe, **options), eager[mode]) for mode, options in MODES.items()}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_early_steps_are_the_same_to_the_bit(mode: str, eager: dict[str, Tensor]) -> None:
    assert torch.equal(latents(load(), early=True, **MODES[mode]), eager[mode])


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    "switches",
    [
        {"channels_last": True},
        {"fuse_projections": True},
        {"fuse_projections": True, "project_prompts_once": True},
    ],
    ids=str,
)
def test_a_switch_stays_within_the_noise(
    switches: dict[str, Any], eager: dict[str, Tensor], noise: dict[str, float]
) -> None:
    pipe = load()
    accelerate(pipe, InferenceSettings.model_validate(switches))
    for mode, options in MODES.items():
        assert 0 < noise[mode] < 0.1 * eager[mode].std()
        assert apart(latents(pipe, **options), eager[mode]) <= INDEPENDENT * noise[mode]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of the compiler's own code
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache.:UserWarning")  # diffusers' own
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_code_makes_the_same_pictures(eager: dict[str, Tensor], noise: dict[str, float]) -> None:
    switches = {"fuse_projections": True, "channels_last": True, "compile": "regional", "compile_resnets": True}
    pipe = load()
    accelerate(pipe, InferenceSettings.model_validate(switches | {"compile_vae": True}))
    for mode, options in MODES.items():
        assert apart(latents(pipe, **options), eager[mode]) <= INDEPENDENT * noise[mode]
    ours, expected = (
        np.asarray(next(one.decode(eager["text-to-image"].bfloat16())), dtype=int) for one in (pipe, load())
    )
    assert np.abs(ours - expected).mean() < 1
