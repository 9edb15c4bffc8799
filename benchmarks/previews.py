"""What a preview costs, and how close it comes to the picture.

    python -m benchmarks.previews

Cost: of latents of 1024 x 1024 with SDXL's four channels; what happens on the denoising thread, and what in the thread
beside it. Closeness: pictures of the small checkpoint at every fifth step, against the finished ones at the latents'
resolution. The device's own share can only be measured where there is a GPU: one matrix product over the latents.
"""

import io
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from photomaker import PhotoMakerPipeline
from photomaker.deployment import package_folder
from photomaker.pictures.previews import LatentColours, Previews, fit, jpeg

NANO = package_folder() / "nano"
STEPS = 30
PEOPLE = {"adam": "man", "bea": "woman", "cleo": "woman", "dan": "man"}
RUNS = 30


def milliseconds(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def cost() -> None:
    latents = torch.randn(1, 4, 128, 128)
    colours = LatentColours(((30.0, 20.0, 10.0),) * 4 + ((128.0, 128.0, 128.0),))
    pixels = colours(latents)[0].numpy()
    print("a preview of 1024 x 1024, ms (median)")
    print(f"  latents to colours                {milliseconds(lambda: colours(latents)):6.2f}")
    print(f"  enlarging and JPEG, beside steps  {milliseconds(lambda: jpeg(pixels)):6.2f}   {len(jpeg(pixels))} bytes")


def closeness(pipe: PhotoMakerPipeline) -> None:
    started = time.perf_counter()
    colours = fit(pipe, pipe.text2img.vae_scale_factor)
    print(f"\nfitted in {time.perf_counter() - started:.1f} s")
    apart: dict[int, list[float]] = {}
    explained: dict[int, list[float]] = {}
    inside: list[float] = []
    whole: list[float] = []
    for seed, (name, word) in enumerate(PEOPLE.items()):
        photos = [Image.open(path).convert("RGB") for path in sorted((NANO / "examples" / name).glob("*.png"))]
        shown: dict[int, bytes] = {}

        def keep(done: int, _: int, jpegs: list[bytes], into: dict[int, bytes] = shown) -> None:
            into[done] = jpegs[0]

        previews = Previews(colours, pipe.text2img.scheduler, keep)

        def timed(done: int, steps: int, latents: torch.Tensor, into: Previews = previews) -> None:
            begun = time.perf_counter()
            into.on_latents(done, steps, latents)
            inside.append(time.perf_counter() - begun)

        conditioning = pipe.condition(
            pipe.read(f"photo of a {word} img wearing a blue hoodie, on a beach"), "", pipe.identify(photos)
        )
        begun = time.perf_counter()
        latents = pipe.denoise(
            conditioning,
            num_inference_steps=STEPS,
            merge_step=6,
            guidance_scale=5.0,
            num_images=1,
            generator=[torch.Generator().manual_seed(seed)],
            on_latents=timed,
        )
        whole.append(time.perf_counter() - begun)
        previews.finish()
        (picture,) = pipe.decode(latents)
        size = (latents.shape[3], latents.shape[2])
        wanted = np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=float)
        last = colours(latents)[0].numpy().astype(float)
        seen = {done: pixels_of(data, size) for done, data in shown.items()} | {STEPS: last}
        for done, made in seen.items():
            apart.setdefault(done, []).append(float(np.abs(made - wanted).mean()))
            rest = ((made - wanted) ** 2).sum() / ((wanted - wanted.mean((0, 1))) ** 2).sum()
            explained.setdefault(done, []).append(float(1 - rest))
    print(f"steps done of {STEPS}    mean distance of 255    variance explained")
    for done in sorted(apart):
        print(f"  {done:10} {np.mean(apart[done]):20.1f} {np.mean(explained[done]):20.2f}")
    print(f"on the denoising thread: {sum(inside) / sum(whole):.2%} of the time, {len(inside)} steps")


def pixels_of(data: bytes, size: tuple[int, int]) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(data)).resize(size, Image.Resampling.BOX), dtype=float)


def main() -> None:
    cost()
    closeness(PhotoMakerPipeline.from_pretrained(NANO / "base", NANO / "photomaker-v1.safetensors", scheduler="euler"))


if __name__ == "__main__":
    main()
