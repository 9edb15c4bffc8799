"""What is measured: the deployment of fal.toml on random weights of full size, or on the tests' small checkpoint."""

import json
import time
from pathlib import Path
from typing import Any

import full_size
import torch
from PIL import Image

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment
from photomaker.weights import prepared
from photomaker.weights.inference import accelerate, warm_up

from .measuring import Run, device, forget_peak, peak_gib, synchronize

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
PROMPT = "portrait photo of a man img, film grain"
TEXT = PROMPT.replace(" img", "")


def deployment(run: Run, **switches: Any) -> Deployment:
    """fal.toml's switches on the weights at hand, photos as they are; the small one is not compiled."""
    inference = Deployment.read(ROOT / "fal.toml").inference.model_dump()
    base, adapter = (GOLDEN, GOLDEN) if run.small else (run.work, run.work)
    if run.small:
        inference |= {"compile": "off", "compile_vae": False}
    side = 64 if run.small else 1024
    pipeline = {"base": str(base / "base"), "adapter": str(adapter / "photomaker-v1.bin"), "scheduler": "euler"}
    return Deployment.model_validate(
        {
            "device": device(),
            "dtype": "float32" if run.small else "bfloat16",
            "height": side,
            "width": side,
            "faces": "off",
            "safety": "off",
            "cache_dir": str(run.work / "cache"),
            "inference": inference | switches,
            "pipelines": {"photomaker": pipeline},
        }
    )


def make_weights(run: Run) -> None:
    if not run.small:
        full_size.VAE["force_upcast"] = True  # as SDXL's own is configured
        full_size.make(run.work)


def unet_config(run: Run) -> dict[str, Any]:
    if run.small:
        config: dict[str, Any] = json.loads((GOLDEN / "base" / "unet" / "config.json").read_text())
        return config
    return full_size.UNET


def photos(count: int) -> list[Image.Image]:
    found = [Image.open(path).convert("RGB") for path in sorted((GOLDEN / "photos").iterdir())]
    return (found * count)[:count]


def seeds(images: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(images)]


def opened(run: Run, label: str) -> tuple[PhotoMakerPipeline, Deployment]:
    """The pipeline from its prepared weights, as a runner's start opens it."""
    settings = deployment(run)
    start = time.perf_counter()
    pipe = prepared.open_pipelines(settings, log=print)["photomaker"]
    synchronize()
    run.row(f"{label} start: prepared weights onto the device", seconds=time.perf_counter() - start)
    return pipe, settings


def warmed(run: Run, label: str, pipe: PhotoMakerPipeline, settings: Deployment) -> None:
    """Accelerated and warmed up, as the rest of a start."""
    forget_peak()
    start = time.perf_counter()
    accelerate(pipe, settings.inference)
    warm_up(pipe, settings, print)
    synchronize()
    run.row(f"{label} start: warm-up", seconds=time.perf_counter() - start, graphs=graphs(), peak_gib=peak_gib())


def graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"].get("unique_graphs", 0))
