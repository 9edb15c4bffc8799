"""Guidance that ends before the run does, on the tiny golden checkpoint."""

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
MERGED_FROM_THE_START: dict[str, Any] = {"initial_image": PHOTOS[0], "initial_image_strength": 0.67}


@pytest.fixture(scope="module")
def pipe() -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin", guidance_stop=0.5)


def run(pipe: PhotoMakerPipeline, *seeds: int, stop: float = 0.5, **options: Any) -> tuple[Tensor, list[int]]:
    """Final latents, and how large the UNet's batch was in each step."""
    options = {"num_inference_steps": STEPS, "height": 64, "width": 64, "photos": PHOTOS} | options
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    batches: list[int] = []
    hook = pipe.text2img.unet.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    pipe.guidance_stop = stop
    made = pipe(PROMPT, num_images=len(seeds), generator=generators, output_type="latent", **options)
    hook.remove()
    assert isinstance(made, Tensor)
    return made, batches


@pytest.mark.parametrize(
    ("stop", "merge_step", "guided"),
    [(0.0, 1, 2), (0.5, 1, 4), (0.75, 1, 5), (1.0, 1, 6), (0.5, 3, 5), (0.5, 5, 6), (0.5, 9, 6)],
)
def test_the_steps_after_it_cost_half(pipe: PhotoMakerPipeline, stop: float, merge_step: int, guided: int) -> None:
    """It counts the steps that see the person, who would hardly show if merged in later than guidance stops."""
    _, batches = run(pipe, 1, 2, stop=stop, start_merge_step=merge_step)
    assert batches == [4] * guided + [2] * (STEPS - guided)


@pytest.mark.parametrize(("strength", "guided"), [(1.0, 4), (0.67, 2), (0.34, 1)])
def test_image_to_image_counts_the_steps_that_it_runs(pipe: PhotoMakerPipeline, strength: float, guided: int) -> None:
    _, batches = run(pipe, 1, initial_image=PHOTOS[0], initial_image_strength=strength)
    assert batches == [2] * guided + [1] * (int(STEPS * strength) - guided)


def test_it_is_the_pipeline_s_own(pipe: PhotoMakerPipeline) -> None:
    """Of a pipeline opened with it; one opened without never stops."""
    fresh = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin")
    assert torch.equal(run(pipe, 1, stop=1.0)[0], run(fresh, 1, stop=fresh.guidance_stop)[0])


def test_none_at_all_is_as_without_guidance(pipe: PhotoMakerPipeline) -> None:
    none, batches = run(pipe, 1, stop=0.0, negative_prompt="rain", **MERGED_FROM_THE_START)
    assert batches == [1] * 4
    assert torch.equal(none, run(pipe, 1, stop=1.0, guidance_scale=1.0, **MERGED_FROM_THE_START)[0])


def test_guidance_counts_before_it(pipe: PhotoMakerPipeline) -> None:
    weak, strong = (run(pipe, 1, guidance_scale=scale)[0] for scale in (3.0, 7.0))
    assert not torch.allclose(weak, strong, atol=1e-2)


@pytest.mark.parametrize("merge_step", [0, 2, 4])
def test_each_image_is_of_the_person_and_of_its_own_seed(pipe: PhotoMakerPipeline, merge_step: int) -> None:
    both, _ = run(pipe, 1, 2, start_merge_step=merge_step)
    for index, seed in enumerate((1, 2)):
        torch.testing.assert_close(both[index], run(pipe, seed, start_merge_step=merge_step)[0][0], atol=1e-4, rtol=0)
    assert not torch.allclose(both, run(pipe, 1, 2, start_merge_step=merge_step, photos=PHOTOS[1:2])[0], atol=1e-4)


def test_the_next_run_is_guided_again(pipe: PhotoMakerPipeline) -> None:
    (first, batches), (second, again) = run(pipe, 1), run(pipe, 1)
    assert torch.equal(first, second)
    assert batches == again == [2] * 4 + [1] * 2
