"""DDIM with its timesteps on the host is DDIM, in both modes and however often it is used."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from photomaker import PhotoMakerPipeline

GOLDEN = Path(__file__).parents[1] / "golden"
PHOTO = Image.open(GOLDEN / "photos" / "00.png").convert("RGB")


@pytest.mark.parametrize("initial_image", [None, PHOTO], ids=["text-to-image", "image-to-image"])
@pytest.mark.parametrize("config", [{}, {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}])
def test_it_is_the_same_to_the_bit(initial_image: Image.Image | None, config: dict[str, str]) -> None:
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin", scheduler="ddim")

    def latents(steps: int) -> torch.Tensor:
        made = pipe(
            "a man img",
            [PHOTO],
            num_inference_steps=steps,
            initial_image=initial_image,
            initial_image_strength=0.7,
            generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
            num_images=2,
            height=64,
            width=64,
            output_type="latent",
        )
        assert isinstance(made, torch.Tensor)
        return made

    configured = {**pipe.text2img.scheduler.config, **config}
    stock = DDIMScheduler.from_config(configured)
    assert type(pipe.text2img.scheduler) is not DDIMScheduler
    own = type(pipe.text2img.scheduler).from_config(configured)
    for steps in (6, 9):
        results = []
        for scheduler in (stock, own):
            pipe.text2img.scheduler = pipe.img2img.scheduler = scheduler
            results.append(latents(steps))
        assert torch.equal(*results)
