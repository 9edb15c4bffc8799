"""A second start; then pictures by stock diffusers, compiled diffusers, this project, and bare passes, taking turns."""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from inference import bare, stock
from PIL import Image

from photomaker import PhotoMakerPipeline
from photomaker.deployment import SCHEDULERS, Deployment
from photomaker.pictures.png import encode_png
from photomaker.weights.checkpoints import make_scheduler

from .measuring import Run, allocated_gib, device, forget_peak, median, peak_gib, rows, timed
from .subject import PROMPT, TEXT, graphs, opened, photos, seeds, warmed

STRENGTH = 0.5


def measure(run: Run) -> None:
    start = time.perf_counter()
    pipe, settings = opened(run, "second")
    copied = time.perf_counter()
    alone = allocated_gib()
    plain = stock(pipe)
    regional = stock(pipe)
    regional.unet.compile_repeated_blocks(fullgraph=True, dynamic=True, backend="eager" if run.small else "inductor")
    left_aside, beside = time.perf_counter() - copied, allocated_gib() - alone
    warmed(run, "second", pipe, settings)
    steps = 4 if run.small else 50
    first = timed(
        lambda: pipe(PROMPT, photos(1), num_inference_steps=steps, height=settings.height, width=settings.width)
    )
    run.row(
        f"second start: to the first picture of {steps} steps, without imports",
        seconds=time.perf_counter() - start - left_aside,
        picture_seconds=first[0],
    )
    table(run, pipe, settings, {"stock": plain, "compiled": regional}, beside)
    with run.part("waits"):
        waits(run, pipe, settings)
    with run.part("parts"):
        parts(run, pipe, plain, settings)
    with run.part("profile", needs=25):
        profile(run, pipe, settings)


def table(
    run: Run,
    pipe: PhotoMakerPipeline,
    settings: Deployment,
    others: dict[str, StableDiffusionXLPipeline],
    beside: float,
) -> None:
    """``beside``: GiB of the others' weights, which a deployment does not have."""
    from_picture = {
        name: StableDiffusionXLImg2ImgPipeline(**other.components, add_watermarker=False)
        for name, other in others.items()
    }
    for other in from_picture.values():
        other.set_progress_bar_config(disable=True)
    initial = photos(1)[0].resize((settings.width, settings.height))
    short, long = (2, 4) if run.small else (20, 50)
    compiled = 0
    for images, steps, picture in [
        (1, long, None),
        (1, short, None),
        (4, short, None),
        (1, long, initial),
        (4, long, None),
        (4, short, initial),
        (1, short, initial),
        (4, long, initial),
    ][slice(None, None, 3 if run.small else 1)]:
        name = f"{images} of {steps} steps from {'text' if picture is None else 'a picture'}"
        with run.part(name, needs=0 if run.small else 10 + 0.8 * images * steps / 10) as worth:
            if worth:
                ways = others if picture is None else from_picture
                compiled += row(run, name, pipe, settings, ways, images, steps, picture, beside)
    run.row("compilations while this project served", count=compiled)


def row(
    run: Run,
    name: str,
    pipe: PhotoMakerPipeline,
    settings: Deployment,
    others: dict[str, Any],
    images: int,
    steps: int,
    picture: Image.Image | None,
    beside: float,
) -> int:
    """One row of the table; how often this project compiled something for it."""
    size: dict[str, Any] = {"height": settings.height, "width": settings.width}
    passes = steps if picture is None else max(1, int(steps * STRENGTH))
    also: dict[str, Any] = size if picture is None else {"image": picture, "strength": STRENGTH}
    works: dict[str, Callable[[int], Any]] = {
        way: lambda n, other=other: other(  # type: ignore[misc]
            TEXT, num_images_per_prompt=images, num_inference_steps=n, generator=seeds(images), **also
        )
        for way, other in others.items()
    }
    works["this_project"] = lambda n: pipe(
        PROMPT,
        photos(4),
        num_images=images,
        num_inference_steps=n,
        generator=seeds(images),
        initial_image=picture,
        initial_image_strength=STRENGTH,
        **size,
    )
    limit = bare(pipe.text2img.unet, images, passes, settings, pipe.text2img.vae_scale_factor)
    works["bare_passes"] = lambda _: limit()
    compiled = 0
    for way, work in works.items():
        before = graphs()
        work(2 if picture is None else 4)
        compiled += graphs() - before if way == "this_project" else 0
    seconds: dict[str, list[float]] = {way: [] for way in works}
    peak = None
    for _ in range(run.repeat if images == 1 else max(1, run.repeat - 1)):
        for way, work in works.items():
            forget_peak()
            seconds[way].append(timed(lambda: work(steps))[0])  # noqa: B023
            if way == "this_project":
                peak = peak_gib()
    medians: dict[str, Any] = {way: statistics.median(times) for way, times in seconds.items()}
    run.row(name, **medians, floor=floor(run, images, passes), peak_gib=None if peak is None else peak - beside)
    return compiled


def floor(run: Run, images: int, passes: int) -> float | None:
    """Seconds that the FLOPs take at the rate of this card's best matrix product."""
    found = {row["name"]: row["values"] for row in rows(run.out)}
    try:
        counted, rate = found["FLOPs, in 1e12"], found["bf16 matrix product"]["tflops"]
    except KeyError:
        return None
    return float(images * (passes * counted["pass"] + counted["decoding"]) / rate)


def waits(run: Run, pipe: PhotoMakerPipeline, settings: Deployment) -> None:
    """How often CUDA itself says that the host waited, in five steps."""
    if not torch.cuda.is_available():
        return
    before = pipe.text2img.scheduler
    for name in SCHEDULERS:
        pipe.text2img.scheduler = make_scheduler(name, dict(before.config))

        def on_step(done: int, steps: int) -> None:
            torch.cuda.set_sync_debug_mode("warn" if done < steps else "default")

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pipe(
                PROMPT, photos(1), num_inference_steps=6, on_step=on_step, height=settings.height, width=settings.width
            )
        torch.cuda.set_sync_debug_mode("default")
        run.row(f"waits in five steps of {name}", count=sum("synchroniz" in str(one.message) for one in caught))
    pipe.text2img.scheduler = before


@torch.inference_mode()
def parts(run: Run, pipe: PhotoMakerPipeline, plain: StableDiffusionXLPipeline, settings: Deployment) -> None:
    """What a request does besides the loop."""
    vae: Any = pipe.text2img.vae
    side = settings.height // pipe.text2img.vae_scale_factor
    latents = torch.randn(1, 4, side, side, device=device(), dtype=vae.dtype)
    initial = photos(1)[0].resize((settings.width, settings.height))
    tokens = pipe.identify(photos(4))
    prompts = pipe.read(PROMPT)
    works: dict[str, Callable[[], Any]] = {
        "VAE decoding": lambda: vae.decode(latents, return_dict=False),
        "VAE decoding, stock": lambda: plain.vae.decode(latents, return_dict=False),
        "decoding to a picture": lambda: list(pipe.decode(latents)),
        "encoding an initial image": lambda: pipe.encode(initial),
        "ID tokens of 4 photos": lambda: pipe.identify(photos(4)),
        "prompts through the text encoders": lambda: pipe.condition(prompts, "", tokens),
    }
    for name, work in works.items():
        run.row(name, milliseconds=1e3 * median(work, 3))
    for count in (1, 3) if run.small else (1, 8, 11):  # beyond what a start has warmed, the first is slow
        first, again = (timed(lambda: pipe.identify(photos(count)))[0] for _ in range(2))  # noqa: B023
        run.row(f"ID tokens of {count} photos", first_milliseconds=1e3 * first, again_milliseconds=1e3 * again)
    (picture,) = pipe.decode(latents)
    for name, one in {"of random weights": picture, "of a photograph": initial}.items():
        run.row(f"PNG {name}", milliseconds=1e3 * median(lambda: encode_png(one), 3))  # noqa: B023
    finite = pipe.denoise(
        pipe.condition(prompts, "", tokens),
        num_inference_steps=4,
        merge_step=1,
        guidance_scale=5.0,
        num_images=1,
        generator=seeds(1),
        height=settings.height,
        width=settings.width,
    )
    run.row("latents of random weights", all_finite=bool(finite.isfinite().all()))
    with run.part("faces"):
        if not run.small:
            faces(run)


def faces(run: Run) -> None:
    """Where the tests' face models are at hand: what finding and cropping four photos' faces takes, on the CPU."""
    try:
        from photomaker.photos.archive import Photo
        from photomaker.photos.faces import FaceFinder
        from tests.assets import PACK, face_root, photo

        finder = FaceFinder(PACK, face_root())
        people = [Photo(name, photo(name)) for name in ("obama", "obama2", "obama3", "obama4")]
    except (ImportError, RuntimeError, OSError) as error:
        run.row("faces of 4 photos", left_out=f"no face models here: {str(error)[:80]}")
        return
    run.row("faces of 4 photos (small models)", milliseconds=1e3 * median(lambda: finder.portraits(people), 3))


def profile(run: Run, pipe: PhotoMakerPipeline, settings: Deployment) -> None:
    """The kernels of one pass for one image under guidance."""
    if not torch.cuda.is_available():
        return
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    one = bare(pipe.text2img.unet, 1, 1, settings, pipe.text2img.vae_scale_factor)
    one()
    with profiled(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        timed(one)
    listed = found.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=90)
    (run.out / "kernels.txt").write_text(listed)
    on_card = [event for event in found.events() if str(event.device_type).endswith("CUDA")]
    total = sum(event.device_time_total for event in on_card) / 1e3
    run.row("one pass, profiled (kernels.txt)", kernels=len(on_card), milliseconds=total)
