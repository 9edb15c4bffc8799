"""Guidance that ends before the schedule does, on the tiny golden checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from photomaker import PhotoMakerPipeline

GOLDEN = Path(__file__).parents[1] / "golden"
PROMPT = "portrait photo of a man img, film grain"
PHOTOS = [Image.open(path).convert("RGB") for path in sorted((GOLDEN / "photos").iterdir())]
STEPS = 6


def opened(stop: float) -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin", guidance_stop=stop)


def run(stop: float, *seeds: int, photos: list[Image.Image] = PHOTOS, **options: Any) -> tuple[Tensor, list[int]]:
    """Final latents, and how large the UNet's batch was in each step."""
    pipe, batches = opened(stop), list[int]()
    pipe.text2img.unet.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    options = {"num_inference_steps": STEPS, "height": 64, "width": 64} | options
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    made = pipe(PROMPT, photos, num_images=len(seeds), generator=generators, output_type="latent", **options)
    assert isinstance(made, Tensor)
    return made, batches


@pytest.mark.parametrize(("stop", "guided"), [(0.0, 0), (0.5, 3), (0.75, 4), (1.0, 6)])
def test_the_steps_after_it_cost_half(stop: float, guided: int) -> None:
    _, batches = run(stop, 1, 2)
    assert batches == [4] * guided + [2] * (STEPS - guided)


@pytest.mark.parametrize(("strength", "guided"), [(1.0, 3), (0.67, 1), (0.5, 0)])
def test_image_to_image_counts_the_steps_of_the_whole_schedule(strength: float, guided: int) -> None:
    steps = int(STEPS * strength)
    _, batches = run(0.5, 1, initial_image=PHOTOS[0], initial_image_strength=strength)
    assert batches == [2] * guided + [1] * (steps - guided)


def test_at_the_end_it_changes_nothing_and_at_the_start_there_is_no_guidance() -> None:
    pipe, _ = run(1.0, 1)
    plain = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin")
    size = {"height": 64, "width": 64}
    usual = plain(
        PROMPT,
        PHOTOS,
        num_inference_steps=STEPS,
        generator=[torch.Generator().manual_seed(1)],
        output_type="latent",
        **size,  # type: ignore[arg-type]
    )
    assert torch.equal(pipe, usual)  # type: ignore[arg-type]
    assert torch.equal(run(0.0, 1)[0], run(1.0, 1, guidance_scale=1.0)[0])


def test_guidance_counts_only_before_it() -> None:
    """Without it from the first step on, the scale and the negative prompt mean nothing; later they do."""
    never = [run(0.0, 1, guidance_scale=scale, negative_prompt=words)[0] for scale, words in ((3, "rain"), (7, "sun"))]
    assert torch.equal(*never)
    half = [run(0.5, 1, guidance_scale=scale)[0] for scale in (3.0, 7.0)]
    assert not torch.allclose(*half, atol=1e-2)


@pytest.mark.parametrize("merge_step", [0, 2, 4])
def test_each_image_is_of_the_person_and_of_its_own_seed(merge_step: int) -> None:
    """Whether the person is merged in before guidance stops, with its last step, or after."""
    options: dict[str, Any] = {"start_merge_step": merge_step}
    both, _ = run(0.5, 1, 2, **options)
    for index, seed in enumerate((1, 2)):
        torch.testing.assert_close(both[index], run(0.5, seed, **options)[0][0], atol=1e-4, rtol=0)
    assert not torch.allclose(both, run(0.5, 1, 2, photos=PHOTOS[1:2], **options)[0], atol=1e-4)


def test_the_next_run_is_guided_again() -> None:
    pipe = opened(0.5)
    options: dict[str, Any] = {"num_inference_steps": STEPS, "height": 64, "width": 64, "output_type": "latent"}
    first, second = (pipe(PROMPT, PHOTOS, generator=torch.Generator().manual_seed(1), **options) for _ in range(2))
    assert torch.equal(first, second)  # type: ignore[arg-type]
