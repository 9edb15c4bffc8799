"""A request on the stand-in device: nothing is left on the other side, nothing waits, pixels are the CPU's.

To the bit, once the CPU follows the one rule of CUDA's that changes the order of its sums: group norms make their input
contiguous, and what comes after them reads it in that order.
"""

import ast
import io
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from flashpack import parallel_read
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

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

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden"
SOURCE = Path(__file__).parents[2] / "src" / "photomaker"
PHOTOS = [Image.open(path).convert("RGB") for path in sorted((GOLDEN / "photos").iterdir())]
PROMPT = "portrait photo of a man img, film grain"
ADAPTERS = ("photomaker-v1.bin", "photomaker-v2.bin")
FACES = load_file(GOLDEN / "expected.safetensors")["face_embeddings"][:2]
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
        assert np.array_equal(np.asarray(a), np.asarray(b))


@contextmanager
def norms_of_cuda() -> Iterator[None]:
    """Within, group norms on the CPU lay their input out as those on CUDA do; other operations keep channels-last."""
    norm = functional.group_norm
    with patch.object(functional, "group_norm", lambda given, *args: norm(given.contiguous(), *args)):
        yield


@pytest.fixture(scope="module")
def opened(cache: Path) -> Callable[..., PhotoMakerPipeline]:
    """A pipeline on "cpu" or "cuda", switched as a deployment has it; each is opened once."""
    made: dict[Any, PhotoMakerPipeline] = {}

    def pipeline(device: str, adapter: str, dtype: str) -> PhotoMakerPipeline:
        key = device, adapter, dtype
        if key not in made:
            settings = deployment(cache, device, adapter, dtype=dtype)
            with stand_in() if device == "cuda" else nullcontext():
                made[key] = open_pipelines(settings, log=lambda _: None)["photomaker"]
                accelerate(made[key], settings.inference)
            inference.prefer_attention("sdpa")
        return made[key]

    return pipeline


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "as published"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_service_with_faces_and_safety(
    adapter: str, prepared: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded, switched, warmed up, asked, decoded, as a runner does it."""
    monkeypatch.setattr(inference, "WARM_UPS", ((1, 5.0), (2, 0.0)))  # of many alike, two
    monkeypatch.setattr(inference, "WARM_UP_PHOTOS", (1, 2))
    changed = {"faces": "crop", "face_pack": PACK, "face_root": str(face_root()), "safety": "check"}
    request = Request(
        PROMPT,
        photos=archive(photo("obama"), photo("obama2")),
        num_inference_steps=STEPS,
        num_images=2,
        style_strength=50,
    )
    lines: list[str] = []

    def served(device: str, named: str) -> list[Image.Image]:
        settings = deployment(cache, named, adapter, dtype="bfloat16", inference={"prepared": prepared}, **changed)
        service = Service.start(settings, lines.append)
        (pipe,) = service.pipelines.values()
        for network in (pipe.id_encoder, *pipe.text2img.components.values()):
            if isinstance(network, nn.Module):
                tensors = [*network.parameters(), *network.buffers()]
                assert {tensor.device.type for tensor in tensors} == {device}
        return [picture.image for picture in service.generate(request, Listener())]

    with norms_of_cuda():
        expected = served("cpu", "cpu")
    with stand_in():
        assert_same_pixels(served("cuda", "auto"), expected)
    assert not [line for line in lines if "again" in line]  # what was read is what was written
    assert lines[-1].startswith("warmed up")
    assert not parallel_read._PINNED_POOL


# Of numbers' formats, fal.toml's in everything; the others where the method and the VAE treat them differently.
LOOPS = [
    *((scheduler, adapter, "bfloat16") for scheduler in SCHEDULERS for adapter in ADAPTERS),
    *((scheduler, "photomaker-v1.bin", "float16") for scheduler in ("euler", "ddim")),
    *((scheduler, "photomaker-v2.bin", "float32") for scheduler in ("euler", "ddim")),
]


class TestTheLoop:
    @pytest.mark.parametrize("initial_image", [None, PHOTOS[0]], ids=["text-to-image", "image-to-image"])
    @pytest.mark.parametrize(("scheduler", "adapter", "dtype"), LOOPS)
    def test_waits_and_pixels(
        self,
        scheduler: str,
        adapter: str,
        dtype: str,
        initial_image: Image.Image | None,
        opened: Callable[..., PhotoMakerPipeline],
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
                face_embeddings=FACES if adapter == "photomaker-v2.bin" else None,
                on_step=on_step,
            )
            assert isinstance(made, list)
            return made

        with norms_of_cuda():
            expected = serve(opened("cpu", adapter, dtype))
        pipe = opened("cuda", adapter, dtype)
        with stand_in() as device:

            def on_step(done: int, steps: int) -> None:
                device.counting = done < steps

            pictures = serve(pipe, on_step)
        assert_same_pixels(pictures, expected)
        assert device.waits.total() == WAITS[scheduler], device.waits

    def test_no_strength_no_guidance_and_half_of_it(
        self, opened: Callable[..., PhotoMakerPipeline], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def serve(pipe: PhotoMakerPipeline) -> list[Image.Image]:
            options: dict[str, Any] = {"num_inference_steps": STEPS, "height": 64, "width": 64}
            kept = pipe(PROMPT, PHOTOS[:1], initial_image=PHOTOS[0], initial_image_strength=0.0, **options)
            seed = torch.Generator().manual_seed(3)
            free = pipe(PROMPT, PHOTOS[:1], guidance_scale=0.5, generator=seed, **options)
            monkeypatch.setattr(pipe, "guidance_stop", 0.5)
            half = pipe(PROMPT, PHOTOS[:1], generator=seed, num_images=2, **options)
            return [*kept, *free, *half]

        with norms_of_cuda():
            expected = serve(opened("cpu", "photomaker-v1.bin", "bfloat16"))
        pipe = opened("cuda", "photomaker-v1.bin", "bfloat16")
        with stand_in():
            assert_same_pixels(serve(pipe), expected)


def names_cuda(node: ast.AST) -> bool:
    """Whether code asks for the kind of device, or calls torch.cuda."""
    return any(
        (isinstance(part, ast.Constant) and part.value == "cuda")
        or (isinstance(part, ast.Attribute) and (part.attr == "is_cuda" or ast.unparse(part).startswith("torch.cuda.")))
        for part in ast.walk(node)
    )


def cuda_lines(path: Path) -> set[int]:
    """The first line of what is done for CUDA alone: in a branch whose condition names it, or by torch.cuda itself."""
    lines = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.If) and names_cuda(statement.test):
            lines.add(statement.body[0].lineno)
        elif isinstance(statement, ast.Assign | ast.Return | ast.Expr | ast.With | ast.While) and names_cuda(statement):
            lines.add(statement.lineno)
        elif isinstance(statement, ast.IfExp):  # which side of it runs, no line tells
            assert not names_cuda(statement.test), f"{path}:{statement.lineno}: write this choice as an if statement"
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
    assert {Path(file).name for file, _ in wanted} >= {"assembly.py", "graphs.py", "packed.py", "previews.py"}
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
            request = Request(PROMPT, photos=archive(*PHOTOS[:1]), num_inference_steps=6)
            assert list(service.generate(request, watching))
    assert previews
    assert sorted(wanted - run) == []
    assert lines[-1].startswith("warmed up")
    assert 'attention = "cudnn": this GPU cannot run that kernel' in " ".join(lines)  # the stand-in has no cuDNN
