"""A request on the stand-in device: nothing is left on the other side, nothing waits, pixels are the CPU's."""

import ast
import io
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from flashpack import parallel_read
from PIL import Image
from torch import nn

from photomaker import PhotoMakerPipeline
from photomaker.deployment import SCHEDULERS, Deployment, DeploymentError
from photomaker.service import Listener, Request, Service
from photomaker.weights import inference
from photomaker.weights.checkpoints import make_scheduler
from photomaker.weights.inference import accelerate
from photomaker.weights.prepared import open_pipelines
from photomaker.weights.requirements import device_of
from tests.assets import PACK, face_root, photo
from tests.gpu.device import stand_in

GOLDEN = Path(__file__).parents[1] / "golden"
SOURCE = Path(__file__).parents[2] / "src" / "photomaker"
PHOTOS = [Image.open(path).convert("RGB") for path in sorted((GOLDEN / "photos").iterdir())]
PROMPT = "portrait photo of a man img, film grain"
STEPS = 4
# In the three steps before the last. Those that fal.toml names wait for nothing; the others' waits are diffusers' own.
WAITS = {"euler": 0, "ddim": 0, "dpm++": 0, "euler-a": 3, "unipc": 16, "ddpm": 36}


def deployment(cache: Path, device: str, adapter: str = "photomaker-v1.bin", **changed: Any) -> Deployment:
    pipeline = {"base": str(GOLDEN / "base"), "adapter": str(GOLDEN / adapter), "scheduler": "euler"}
    switches = {"channels_last": True, "fuse_projections": True, "attention": "cudnn"} | changed.pop("inference", {})
    return Deployment.model_validate(
        {
            "device": device,
            "dtype": "float32",
            "height": 64,
            "width": 64,
            "faces": "off",
            "safety": "off",
            "cache_dir": str(cache),
            "inference": switches,
            "pipelines": {"photomaker": pipeline},
        }
        | changed
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _attention() -> Iterator[None]:
    yield
    inference.prefer_attention("sdpa")


def archive(*photos: Image.Image) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for number, one in enumerate(photos):
            with file.open(f"{number}.png", "w") as entry:
                one.save(entry, "PNG")
    return packed.getvalue()


def assert_same_pixels(one: list[Image.Image], other: list[Image.Image]) -> None:
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max() <= 1


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "as published"])
@pytest.mark.parametrize("adapter", ["photomaker-v1.bin", "photomaker-v2.bin"])
def test_every_weight_is_on_the_device(adapter: str, prepared: bool, cache: Path) -> None:
    settings = deployment(cache, "auto", adapter, inference={"prepared": prepared})
    lines: list[str] = []
    with stand_in():
        (pipe,) = open_pipelines(settings, log=lines.append).values()
        for network in (pipe.id_encoder, *pipe.text2img.components.values()):
            if isinstance(network, nn.Module):
                tensors = [*network.parameters(), *network.buffers()]
                assert {tensor.device.type for tensor in tensors} == {"cuda"}
    assert not [line for line in lines if "again" in line]  # what was read is what was written
    assert not parallel_read._PINNED_POOL


@pytest.mark.parametrize("adapter", ["photomaker-v1.bin", "photomaker-v2.bin"])
def test_a_request_with_faces_and_safety(adapter: str, cache: Path) -> None:
    changed = {"faces": "crop", "face_pack": PACK, "face_root": str(face_root()), "safety": "check"}
    request = Request(
        PROMPT,
        photos=archive(photo("obama"), photo("obama2")),
        num_inference_steps=STEPS,
        num_images=2,
        style_strength=50,
    )
    pictures: dict[str, list[Image.Image]] = {}
    for device in ("cpu", "cuda"):
        settings = deployment(cache, device, adapter, **changed)
        if device == "cpu":
            service = Service(settings, open_pipelines(settings, log=lambda _: None))
            pictures[device] = [picture.image for picture in service.generate(request, Listener())]
        else:
            with stand_in():
                service = Service(settings, open_pipelines(settings, log=lambda _: None))
                pictures[device] = [picture.image for picture in service.generate(request, Listener())]
    assert_same_pixels(pictures["cpu"], pictures["cuda"])


@pytest.fixture(scope="module")
def pipes(cache: Path) -> dict[str, PhotoMakerPipeline]:
    made = {"cpu": open_pipelines(deployment(cache, "cpu"), log=lambda _: None)["photomaker"]}
    with stand_in():
        made["cuda"] = open_pipelines(deployment(cache, "cuda"), log=lambda _: None)["photomaker"]
        accelerate(made["cuda"], deployment(cache, "cuda").inference)
    return made


class TestTheLoop:
    @pytest.mark.parametrize("initial_image", [None, PHOTOS[0]], ids=["text-to-image", "image-to-image"])
    @pytest.mark.parametrize("scheduler", SCHEDULERS)
    def test_waits_and_pixels(
        self, scheduler: str, initial_image: Image.Image | None, pipes: dict[str, PhotoMakerPipeline]
    ) -> None:
        def serve(pipe: PhotoMakerPipeline, on_step: Any = None) -> list[Image.Image]:
            other = make_scheduler(scheduler, dict(pipe.text2img.scheduler.config))
            pipe.text2img.scheduler = pipe.img2img.scheduler = other
            made = pipe(
                PROMPT,
                PHOTOS[:2],
                num_inference_steps=STEPS,
                start_merge_step=2,
                num_images=2,
                generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
                initial_image=initial_image,
                initial_image_strength=1.0,
                height=64,
                width=64,
                on_step=on_step,
            )
            assert isinstance(made, list)
            return made

        expected = serve(pipes["cpu"])
        with stand_in() as device:

            def on_step(done: int, steps: int) -> None:
                device.counting = done < steps

            pictures = serve(pipes["cuda"], on_step)
        assert_same_pixels(pictures, expected)
        assert device.waits.total() == WAITS[scheduler], device.waits

    def test_no_strength_and_no_guidance(self, pipes: dict[str, PhotoMakerPipeline]) -> None:
        def serve(pipe: PhotoMakerPipeline) -> list[Image.Image]:
            kept = pipe(
                PROMPT, PHOTOS[:1], num_inference_steps=STEPS, initial_image=PHOTOS[0], initial_image_strength=0.0
            )
            free = pipe(
                PROMPT,
                PHOTOS[:1],
                num_inference_steps=STEPS,
                guidance_scale=0.5,
                generator=torch.Generator().manual_seed(3),
                height=64,
                width=64,
            )
            return [*kept, *free]

        expected = serve(pipes["cpu"])
        with stand_in():
            assert_same_pixels(serve(pipes["cuda"]), expected)


def cuda_lines(path: Path) -> set[int]:
    """The first line of what is done for CUDA alone: in a branch whose condition names it, or by torch.cuda itself."""
    lines = set()

    def named(node: ast.AST) -> bool:
        return any(
            (isinstance(part, ast.Constant) and part.value == "cuda")
            or (isinstance(part, ast.Attribute) and ast.unparse(part).startswith("torch.cuda."))
            for part in ast.walk(node)
        )

    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.If) and named(statement.test):
            lines.add(statement.body[0].lineno)
        elif isinstance(statement, ast.Assign | ast.Return | ast.Expr | ast.With | ast.While) and named(statement):
            lines.add(statement.lineno)
    return lines


@contextmanager
def lines_run(files: set[str]) -> Iterator[set[tuple[str, int]]]:
    """The lines of these files that run within, in any thread."""
    found: set[tuple[str, int]] = set()

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        found.add((frame.f_code.co_filename, frame.f_lineno))
        return inside

    def calls(frame: FrameType, event: str, _: Any) -> Any:
        return inside(frame, event, None) if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    threading.settrace(calls)
    sys.settrace(calls)
    try:
        yield found
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]


def test_every_branch_that_only_cuda_takes_is_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one that no start on the stand-in goes through fails here: let this test go through it."""
    wanted = {(str(path), line) for path in SOURCE.rglob("*.py") for line in cuda_lines(path)}
    assert len(wanted) >= 4
    monkeypatch.setattr(inference, "WARM_UPS", ((1, 5.0),))  # of many alike, one
    monkeypatch.setattr(inference, "WARM_UP_PHOTOS", (1, 2))
    lines: list[str] = []
    previews: list[int] = []
    watching = Listener(on_preview=lambda done, steps, pictures: previews.append(done))
    settings = deployment(cache, "auto", inference={"cuda_graphs": "on"})
    with lines_run({file for file, _ in wanted}) as run:
        assert device_of(settings) == torch.device("cpu")  # a machine without a GPU
        with pytest.raises(DeploymentError, match="cuda"):
            device_of(settings.model_copy(update={"device": "cuda"}))
        with stand_in():
            service = Service.start(settings, lines.append)
            request = Request(PROMPT, photos=archive(*PHOTOS[:1]), num_inference_steps=12)
            assert list(service.generate(request, watching))
    assert previews
    assert sorted(wanted - run) == []
    assert lines[-1].startswith("warmed up")
    assert 'attention = "cudnn": this GPU cannot run that kernel' in " ".join(lines)  # the stand-in has no cuDNN
