"""Previews: colours near the VAE's own, and the picture that a step is heading for."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from photomaker.deployment import package_folder
from photomaker.pictures.previews import LatentColours, Previews, fit
from photomaker.weights.checkpoints import SCHEDULERS, make_scheduler
from photomaker.weights.kept import kept

NANO = package_folder() / "nano"
SDXL_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "clip_sample": False,
    "set_alpha_to_one": False,
}


@pytest.fixture(scope="module")
def nano():
    from photomaker import PhotoMakerPipeline

    return PhotoMakerPipeline.from_pretrained(NANO / "base", NANO / "photomaker-v1.safetensors")


def test_the_colours_are_near_those_of_the_vae(nano) -> None:
    colours = fit(nano, nano.text2img.vae_scale_factor)
    for path in sorted((NANO / "examples" / "bea").glob("*.png")):
        latents = nano.scaled(nano.encode(Image.open(path).convert("RGB")).mode())
        (picture,) = nano.decode(latents)
        wanted = np.asarray(picture.resize((latents.shape[3], latents.shape[2]), Image.Resampling.BOX), dtype=float)
        shown = colours(latents)[0].numpy().astype(float)
        unexplained = ((shown - wanted) ** 2).sum() / ((wanted - wanted.mean((0, 1))) ** 2).sum()
        assert unexplained < 0.15, path


@pytest.mark.parametrize("name", [name for name in sorted(SCHEDULERS) if name in ("euler", "ddim")])
@pytest.mark.parametrize("first", [0, 6], ids=["text-to-image", "image-to-image"])
def test_where_a_step_is_heading(name: str, first: int) -> None:
    """With a model that sees one and the same picture at every step, that is this picture."""
    scheduler = make_scheduler(name, SDXL_SCHEDULE)
    scheduler.set_timesteps(20)
    generator = torch.Generator().manual_seed(0)
    picture, noise = (torch.randn(1, 4, 6, 6, generator=generator) for _ in range(2))
    timesteps = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    latents = scheduler.add_noise(picture, noise, timesteps[:1])
    previews = Previews(LatentColours(()), scheduler, lambda *_: None, every=1000)
    for done, step in enumerate(timesteps[:-1], start=1):
        share = scheduler.alphas_cumprod[int(step)]
        if name == "euler":
            predicted = (latents - picture) / ((1 - share) / share) ** 0.5
        else:
            predicted = (latents - share**0.5 * picture) / (1 - share) ** 0.5
        latents = scheduler.step(predicted, step, latents).prev_sample
        if done > 1:
            assert torch.allclose(previews.heading(done, len(timesteps), latents), picture, atol=2e-3)
        previews.on_latents(done, len(timesteps), latents)
    previews.finish()


def test_every_few_steps_a_jpeg_of_each_picture() -> None:
    scheduler = make_scheduler("euler", SDXL_SCHEDULE)
    scheduler.set_timesteps(12)
    shown: list[tuple[int, int, list[bytes]]] = []
    colours = LatentColours(((40.0, 0.0, 0.0), (0.0, 40.0, 0.0), (128.0, 128.0, 128.0)))
    previews = Previews(colours, scheduler, lambda *told: shown.append(told))
    for done in range(1, 13):
        previews.on_latents(done, 12, torch.zeros(3, 2, 8, 10))
    previews.finish()
    assert [(done, steps, len(jpegs)) for done, steps, jpegs in shown] == [(5, 12, 3), (10, 12, 3)]
    with Image.open(io.BytesIO(shown[0][2][0])) as preview:
        assert (preview.format, preview.size) == ("JPEG", (20, 16))
        assert preview.getpixel((5, 5)) == (128, 128, 128)


def test_what_was_fitted_is_kept_under_the_network_s_content(tmp_path: Path) -> None:
    network = torch.nn.Conv2d(2, 3, 3)
    made: list[int] = []

    def make() -> list[list[float]]:
        made.append(1)
        return [[0.5, 1.0]]

    assert kept(tmp_path, network, make) == kept(tmp_path, network, make) == [[0.5, 1.0]]
    assert len(made) == 1
    with torch.no_grad():
        network.weight[0, 0, 0, 0] += 1
    kept(tmp_path, network, make)
    assert len(made) == 2
    for file in tmp_path.iterdir():
        file.write_text("{")
    assert kept(tmp_path, network, make) == [[0.5, 1.0]]
    assert len(made) == 3
