"""Checkpoints from the hub or the disk, prepared once, opened on every later start, and made again when damaged."""

import gc
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from safetensors.torch import load_file, save_file

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment
from photomaker.weights import prepared
from photomaker.weights.checkpoints import CheckpointError
from photomaker.weights.sources import Hub, chosen, digest
from tests.hub import Hub as HubServer

GOLDEN = Path(__file__).parents[1] / "golden"
ADAPTER = GOLDEN / "photomaker-v1.bin"
PROMPT = "photo of a man img"
Lines = list[str]


def deployment(
    folder: Path, *, base: object = GOLDEN / "base", adapter: object = ADAPTER, **options: Any
) -> Deployment:
    """A deployment of one pipeline on the golden checkpoint, or on another."""
    inference = options.pop("inference", {})
    pipelines = options.pop("pipelines", None) or {"photomaker": {"base": str(base), "adapter": str(adapter)} | options}
    return Deployment.model_validate(
        {
            "device": "cpu",
            "dtype": "float32",
            "height": 64,
            "width": 64,
            "cache_dir": str(folder / "cache"),
            "inference": inference,
            "pipelines": pipelines,
        },
        context={"folder": folder},
    )


def opened(settings: Deployment) -> tuple[PhotoMakerPipeline, Lines]:
    """The first of a deployment's pipelines, and what the log said."""
    lines: Lines = []
    return next(iter(prepared.open_pipelines(settings, log=lines.append).values())), lines


def stored(settings: Deployment) -> dict[str, float]:
    """The prepared networks' files and when they were written."""
    folder = prepared.cache_root(settings) / "prepared"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.flashpack")}


def latents(pipe: PhotoMakerPipeline) -> torch.Tensor:
    photo = Image.open(GOLDEN / "photos" / "00.png").convert("RGB")
    seed = torch.Generator().manual_seed(3)
    made = pipe(PROMPT, [photo], num_inference_steps=4, height=64, width=64, generator=seed, output_type="latent")
    assert isinstance(made, torch.Tensor)
    return made


def lora(path: Path, value: float = 0.05) -> Path:
    """A LoRA of one attention projection."""
    stem = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    save_file(
        {f"{stem}.down.weight": torch.full((4, 64), value), f"{stem}.up.weight": torch.full((64, 4), value)}, path
    )
    return path


@pytest.fixture(scope="module")
def plain() -> torch.Tensor:
    """What the published files make, loaded as they are."""
    return latents(PhotoMakerPipeline.from_pretrained(GOLDEN / "base", ADAPTER))


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose cache has the golden checkpoint prepared; tests copy it."""
    folder = tmp_path_factory.mktemp("first")
    opened(deployment(folder))
    return folder


@pytest.fixture
def folder(first_start: Path, tmp_path: Path) -> Path:
    shutil.copytree(first_start / "cache", tmp_path / "cache")
    return tmp_path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    (tmp_path / "files").mkdir()
    with HubServer({"some/base": GOLDEN / "base", "some/adapter": GOLDEN, "some/files": tmp_path / "files"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


class TestPrepared:
    def test_makes_the_same_pictures_as_the_published_files(self, folder: Path, plain: torch.Tensor) -> None:
        pipe, lines = opened(deployment(folder))
        assert not any("preparing" in line for line in lines)
        assert torch.equal(latents(pipe), plain)

    @pytest.mark.parametrize("inference", [{"prepared": False}, {"channels_last": True}], ids=str)
    def test_switches_change_no_picture(self, tmp_path: Path, plain: torch.Tensor, inference: dict[str, bool]) -> None:
        settings = deployment(tmp_path, inference=inference)
        opened(settings)
        torch.testing.assert_close(latents(opened(settings)[0]), plain, atol=1e-3, rtol=0)

    def test_channels_last_is_how_convolutions_are_stored(self, tmp_path: Path) -> None:
        pipe, _ = opened(deployment(tmp_path, inference={"channels_last": True}))
        for convolution in (pipe.text2img.unet.conv_in, pipe.text2img.vae.decoder.conv_in):
            assert convolution.weight.is_contiguous(memory_format=torch.channels_last)

    def test_pipelines_share_equal_networks(self, folder: Path) -> None:
        second = {"base": str(GOLDEN / "base"), "adapter": str(GOLDEN / "photomaker-v2.bin"), "scheduler": "ddim"}
        first = {"base": str(GOLDEN / "base"), "adapter": str(ADAPTER)}
        settings = deployment(folder, pipelines={"photomaker": first, "photomaker-style": second})
        one, two = prepared.open_pipelines(settings, log=lambda _: None).values()
        for part in ("vae", "text_encoder", "text_encoder_2"):
            assert getattr(one.text2img, part) is getattr(two.text2img, part)
        assert one.text2img.unet is not two.text2img.unet
        assert isinstance(two.text2img.scheduler, DDIMScheduler)
        assert two.id_encoder.wants_faces

    def test_a_changed_lora_weight_writes_the_unet_alone(self, folder: Path) -> None:
        before = stored(deployment(folder))
        path = str(lora(folder / "style.safetensors"))
        for weight in (0.5, 1.0):
            opened(deployment(folder, loras=[{"path": path, "weight": weight}]))
            after = stored(deployment(folder))
            assert before.items() <= after.items()
            assert len(after) == len(before) + 1
            before = after

    def test_another_scheduler_writes_nothing(self, folder: Path) -> None:
        before = stored(deployment(folder))
        _, lines = opened(deployment(folder, scheduler="dpm++"))
        assert stored(deployment(folder)) == before
        assert not any("preparing" in line for line in lines)

    @pytest.mark.parametrize("prepared", [True, False])
    def test_guidance_stops_where_the_deployment_says(self, folder: Path, plain: torch.Tensor, prepared: bool) -> None:
        before = stored(deployment(folder))
        settings = deployment(folder, guidance_stop=0.5, inference={"prepared": prepared})
        made = latents(opened(settings)[0])
        whole = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", ADAPTER, guidance_stop=0.5)
        torch.testing.assert_close(made, latents(whole), atol=1e-3, rtol=0)
        assert not torch.allclose(made, plain, atol=1e-2)
        assert stored(deployment(folder)) == before

    def test_a_changed_checkpoint_is_noticed(self, folder: Path) -> None:
        path = lora(folder / "style.safetensors")
        settings = deployment(folder, loras=[{"path": str(path)}])
        first = latents(opened(settings)[0])
        lora(path, 0.5)
        pipe, lines = opened(settings)
        assert any("preparing" in line and "unet" in line for line in lines)
        assert not torch.equal(latents(pipe), first)

    def test_weights_may_be_written_to(self, folder: Path, plain: torch.Tensor) -> None:
        pipe, _ = opened(deployment(folder))
        with torch.no_grad():
            pipe.text2img.unet.conv_in.weight.zero_()
        assert torch.equal(latents(opened(deployment(folder))[0]), plain)


class TestDamage:
    @pytest.mark.parametrize("damage", ["cut off", "one byte", "zeroed", "removed", "table", "emptied"])
    def test_a_damaged_network_is_made_again(self, folder: Path, plain: torch.Tensor, damage: str) -> None:
        files = sorted((folder / "cache" / "prepared").glob("*.flashpack"), key=lambda path: path.stat().st_size)
        path = files[-1]
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        if damage == "cut off":
            del content[middle:]
        elif damage == "one byte":
            content[middle] ^= 1
        elif damage == "zeroed":
            content[middle : middle + 4096] = bytes(4096)
        elif damage == "table":
            content[-100] ^= 1
        elif damage == "emptied":
            content.clear()
        path.unlink()  # what is mapped elsewhere stays as it is
        if damage != "removed":
            path.write_bytes(content)
        pipe, lines = opened(deployment(folder))
        assert any(path.name in line and "again" in line for line in lines)
        assert torch.equal(latents(pipe), plain)
        assert not any("again" in line for line in opened(deployment(folder))[1])

    @pytest.mark.parametrize(
        "name", ["unet-*.json", "configuration-*/configuration.json", "configuration-*/tokenizers.json"]
    )
    def test_a_damaged_description_is_made_again(self, folder: Path, plain: torch.Tensor, name: str) -> None:
        (path,) = (folder / "cache" / "prepared").glob(name)
        path.write_text("{")
        pipe, lines = opened(deployment(folder))
        assert any("again" in line for line in lines)
        assert torch.equal(latents(pipe), plain)

    def test_everything_damaged(self, folder: Path, plain: torch.Tensor) -> None:
        for path in (folder / "cache" / "prepared").glob("*.flashpack"):
            path.write_bytes(b"")
        assert torch.equal(latents(opened(deployment(folder))[0]), plain)

    def test_what_was_left_half_written_is_ignored(self, folder: Path, plain: torch.Tensor) -> None:
        left = folder / "cache" / "prepared" / ".packtmp_unet-12"
        left.write_bytes(b"half")
        assert torch.equal(latents(opened(deployment(folder))[0]), plain)


class TestDisk:
    def test_a_full_disk_is_an_error_that_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=65 * 2**20))
        with pytest.raises(CheckpointError, match="no room to prepare weights"):
            opened(deployment(tmp_path, base=GOLDEN / "base"))
        assert not list((tmp_path / "cache" / "prepared").glob("*.flashpack"))
        assert not list((tmp_path / "cache" / "prepared").glob(".packtmp*"))

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file")
        with pytest.raises(CheckpointError, match="cannot be written"):
            opened(deployment(tmp_path))

    def test_what_nobody_opens_for_long_is_deleted(self, folder: Path) -> None:
        old = stored(deployment(folder))
        for path in (folder / "cache" / "prepared").rglob("*"):
            os.utime(path, (0, 0))
        opened(deployment(folder, adapter=GOLDEN / "photomaker-v2.bin"))
        left = stored(deployment(folder))
        assert len(set(old) - set(left)) == 2  # the UNet and the ID encoder; the rest is in use again

    def test_what_nobody_writes_any_more_is_deleted_after_a_day(self, folder: Path) -> None:
        store = folder / "cache" / "prepared"
        half, unfinished, young = (store / f".packtmp_{name}" for name in ("unet-12", "configuration", "unet-13"))
        half.write_bytes(b"half")
        young.write_bytes(b"half")
        (unfinished / "configuration-12").mkdir(parents=True)
        yesterday = time.time() - 25 * 3600
        for path in (half, unfinished):
            os.utime(path, (yesterday, yesterday))
        opened(deployment(folder, adapter=GOLDEN / "photomaker-v2.bin"))
        assert not half.exists()
        assert not unfinished.exists()
        assert young.exists()


class TestHub:
    def test_downloads_once_and_is_offline_afterwards(
        self, hub: HubServer, tmp_path: Path, plain: torch.Tensor
    ) -> None:
        settings = deployment(tmp_path, base="some/base", adapter="some/adapter/photomaker-v1.bin")
        told: dict[str, tuple[int, int]] = {}
        prepared.fetch(settings, log=lambda _: None, progress=lambda name, *bytes_: told.update({name: bytes_}))
        assert set(told) == {"some/base", "some/adapter/photomaker-v1.bin"}
        assert all(done == total for done, total in told.values())
        assert not [name for name, sent in hub.sent.items() if name and sent > size_of(name)]
        before = hub.requests
        pipe, lines = opened(settings)
        assert hub.requests == before
        assert not any("preparing" in line for line in lines)
        assert torch.equal(latents(pipe), plain)

    def test_an_interrupted_download_resumes(self, hub: HubServer, tmp_path: Path) -> None:
        name = "lora.safetensors"
        size = 30 * 2**20
        (tmp_path / "files" / name).write_bytes(os.urandom(size))
        hub.cut.add(name)
        path = Hub(tmp_path / "hub").file(f"some/files/{name}")
        assert digest(path) == digest(tmp_path / "files" / name)
        assert hub.sent[name] < 1.3 * size

    def test_a_download_for_which_there_is_no_room(self, hub: HubServer, tmp_path: Path) -> None:
        (tmp_path / "files" / "lora.safetensors").write_bytes(os.urandom(30 * 2**20))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (15 * 2**20, hard))
        try:
            with pytest.raises(CheckpointError, match=r"some/files/lora\.safetensors: there is no room for it"):
                Hub(tmp_path / "hub").file("some/files/lora.safetensors")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert Hub(tmp_path / "hub").file("some/files/lora.safetensors").is_file()

    def test_what_is_not_there(self, hub: HubServer, tmp_path: Path) -> None:
        hub_here = Hub(tmp_path / "hub")
        with pytest.raises(CheckpointError, match="some/adapter/no"):
            hub_here.file("some/adapter/no.bin")
        with pytest.raises(CheckpointError, match="there is no such file"):
            hub_here.file(tmp_path / "no.bin")

    @pytest.mark.slow
    def test_two_runners_at_once_download_and_prepare_once(self, hub: HubServer, tmp_path: Path) -> None:
        program = (
            "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
            "from tests.weights.test_checkpoints import deployment, opened\n"
            "settings = deployment(Path(sys.argv[1]), base='some/base', adapter='some/adapter/photomaker-v1.bin')\n"
            "print(*opened(settings)[1], sep='\\n')\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parents[2])]
        runners = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        logs = [runner.communicate(timeout=120)[0] for runner in runners]
        assert [runner.returncode for runner in runners] == [0, 0]
        assert sum("preparing configuration" in log for log in logs) == 1
        assert all(sent <= size_of(name) for name, sent in hub.sent.items() if name)


def size_of(name: str) -> int:
    path = GOLDEN / name
    return (path if path.exists() else GOLDEN / "base" / name).stat().st_size


def test_float16_files_are_taken_where_both_are_there() -> None:
    both = ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json"]
    plain = ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"]
    half = ["unet/diffusion_pytorch_model.fp16.safetensors"]
    others = ["README.md", "base.safetensors", "unet/diffusion_pytorch_model.bin", "unet/model.onnx", "vae_1_0/x.json"]
    names = both + plain + half + others
    assert sorted(chosen(names, half=True)) == sorted(both + half + plain[1:])
    assert sorted(chosen(names, half=False)) == sorted(both + plain)


def test_sharded_weights_come_with_their_table() -> None:
    names = [
        "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    ]
    assert sorted(chosen(names, half=True)) == sorted(names)


def test_half_precision_takes_the_half_precision_files(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(GOLDEN / "base", base)
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {key: torch.zeros_like(value) for key, value in load_file(weights).items()}
    save_file(tensors, base / "unet" / "diffusion_pytorch_model.fp16.safetensors", metadata={"format": "pt"})
    pipe = PhotoMakerPipeline.from_pretrained(base, ADAPTER, dtype=torch.bfloat16)
    assert not pipe.text2img.unet.conv_in.weight.any()
    assert PhotoMakerPipeline.from_pretrained(base, ADAPTER).text2img.unet.conv_in.weight.any()
    gc.collect()
