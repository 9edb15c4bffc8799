"""What a deployment pins: the content of its files, and the commits of its repositories."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from photomaker.deployment import Deployment, DeploymentError
from photomaker.weights import prepared
from photomaker.weights.checkpoints import CheckpointError
from photomaker.weights.sources import digest
from tests import single_file
from tests.hub import Hub as HubServer
from tests.weights.test_checkpoints import ADAPTER, GOLDEN, deployment, lora, opened, stored

WRONG = "0" * 64
COMMIT = "f" * 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment's three kinds of files, and what configures the base."""
    folder = tmp_path_factory.mktemp("files")
    single_file.with_unequal_text_encoders(GOLDEN / "base", folder / "base", widths=(32, 96))
    single_file.write_single_file(folder / "base", folder / "base.safetensors")
    single_file.write_config_folder(folder / "base", folder / "config")
    shutil.copy(ADAPTER, folder / "adapter.bin")
    lora(folder / "lora.safetensors")
    return folder


PINS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    # key: the file, and how a deployment pins it
    "base_sha256": ("base.safetensors", lambda sha256: {"base_sha256": sha256}),
    "adapter_sha256": ("adapter.bin", lambda sha256: {"adapter_sha256": sha256}),
    "loras.0.sha256": ("lora.safetensors", lambda sha256: {"loras": [{"path": "lora.safetensors", "sha256": sha256}]}),
}


def pinning(files: Path, folder: Path, key: str, sha256: str, **options: Any) -> Deployment:
    """A deployment of these files, that keeps its weights in another folder."""
    pins = PINS[key][1](sha256)
    settings = deployment(
        files, base="base.safetensors", adapter="adapter.bin", config=str(files / "config"), **pins, **options
    )
    return settings.model_copy(update={"cache_dir": str(folder / "cache")})


@pytest.mark.parametrize("key", PINS)
class TestContent:
    def test_another_content_is_an_error_with_file_and_key(self, files: Path, tmp_path: Path, key: str) -> None:
        file = files / PINS[key][0]
        settings = pinning(files, tmp_path, key, WRONG)
        said = rf"{file}: its sha256 is {digest(file)}, not {WRONG} as pinned by pipelines\.photomaker\.{key}$"
        with pytest.raises(CheckpointError, match=said):
            opened(settings)
        with pytest.raises(CheckpointError, match=said):
            prepared.fetch(settings, log=lambda _: None)
        assert not stored(settings)

    def test_weights_that_are_not_prepared_are_checked_at_every_start(
        self, files: Path, tmp_path: Path, key: str
    ) -> None:
        with pytest.raises(CheckpointError, match="as pinned by"):
            opened(pinning(files, tmp_path, key, WRONG, inference={"prepared": False}))

    def test_prepared_weights_are_no_way_around_a_new_pin(self, files: Path, tmp_path: Path, key: str) -> None:
        opened(pinning(files, tmp_path, key, digest(files / PINS[key][0])))
        _, lines = opened(pinning(files, tmp_path, key, digest(files / PINS[key][0])))
        assert not any("preparing" in line for line in lines)
        with pytest.raises(CheckpointError, match="as pinned by"):
            opened(pinning(files, tmp_path, key, WRONG))


def test_a_pin_covers_only_what_it_names(files: Path, tmp_path: Path) -> None:
    """Pinning the adapter prepares again what the adapter is in."""
    opened(pinning(files, tmp_path, "base_sha256", digest(files / "base.safetensors")))
    both = pinning(files, tmp_path, "base_sha256", digest(files / "base.safetensors"), adapter_sha256=digest(ADAPTER))
    _, lines = opened(both)
    (line,) = (line for line in lines if "preparing" in line)
    assert line == "photomaker: preparing id_encoder, text_encoder, text_encoder_2, unet"


@pytest.mark.parametrize("base", ["owner/repository", str(GOLDEN / "base")])
def test_a_folder_has_no_sha256(tmp_path: Path, base: str) -> None:
    file = tmp_path / "fal.toml"
    file.write_text(f'[pipelines.photomaker]\nbase = "{base}"\nadapter = "{ADAPTER}"\nbase_sha256 = "{WRONG}"\n')
    with pytest.raises(DeploymentError, match=r"fal\.toml: pipelines\.photomaker\.base_sha256: .* is a folder"):
        Deployment.read(file)


def test_a_folder_on_the_runners_disk_has_none_either(tmp_path: Path) -> None:
    recipe = prepared.located(deployment(tmp_path), print, None)["photomaker"]
    pin = prepared.Pin("pipelines.photomaker.base_sha256", recipe.base, WRONG)
    with pytest.raises(CheckpointError, match=r"base: not a file, .* pipelines\.photomaker\.base_sha256 pins"):
        pin.check()


def test_pinned_commits_are_what_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the repositories have moved on."""
    moved = tmp_path / "moved"
    shutil.copytree(GOLDEN / "base", moved)
    weights = moved / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: torch.zeros_like(value) for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    shutil.copy(GOLDEN / "photomaker-v2.bin", moved / "photomaker.bin")
    lora(moved / "lora.safetensors", 0.5)
    then = tmp_path / "then"
    shutil.copytree(GOLDEN / "base", then)
    shutil.copy(ADAPTER, then / "photomaker.bin")
    lora(then / "lora.safetensors")
    settings = deployment(
        tmp_path,
        base="some/files",
        adapter="some/files/photomaker.bin",
        revision=COMMIT,
        adapter_revision=COMMIT,
        loras=[{"path": "some/files/lora.safetensors", "revision": COMMIT}],
    )
    with HubServer({"some/files": moved, f"some/files@{COMMIT}": then}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        recipe = prepared.located(settings, print, None)["photomaker"]
    for found, name in (
        (recipe.base / "unet" / weights.name, f"unet/{weights.name}"),
        (recipe.adapter, "photomaker.bin"),
        (Path(recipe.loras[0].path), "lora.safetensors"),
    ):
        assert digest(found) == digest(then / name)
        assert digest(found) != digest(moved / name)
