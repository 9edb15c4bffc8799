"""A base that is one file in the original key layout gives the pictures that its diffusers folder gives."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment, DeploymentError
from photomaker.weights.checkpoints import CheckpointError
from tests import single_file

GOLDEN = Path(__file__).parents[1] / "golden"
ADAPTER = GOLDEN / "photomaker-v1.bin"
CASE = next(case for case in json.loads((GOLDEN / "cases.json").read_text()) if case["name"] == "one_photo")
EXPECTED = load_file(GOLDEN / "expected.safetensors")["one_photo.latents"]
TOLERANCE = 1e-3
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Base:
    """The golden base but for its text encoders, in three forms."""

    folder: Path
    file: Path
    config: Path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    root = tmp_path_factory.mktemp("base")
    made = Base(root / "folder", root / "base.safetensors", root / "config")
    single_file.with_unequal_text_encoders(GOLDEN / "base", made.folder, widths=(32, 96))
    single_file.write_single_file(made.folder, made.file)
    single_file.write_config_folder(made.folder, made.config)
    return made


@pytest.fixture(scope="module")
def from_folder(base: Base) -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(base.folder, ADAPTER)


@pytest.fixture
def from_file(base: Base) -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(base.file, ADAPTER, config=base.config)


def latents(pipe: PhotoMakerPipeline) -> torch.Tensor:
    found = pipe(
        CASE["prompt"],
        [Image.open(GOLDEN / "photos" / "00.png").convert("RGB")],
        negative_prompt=CASE["negative_prompt"],
        num_inference_steps=CASE["num_inference_steps"],
        start_merge_step=CASE["start_merge_step"],
        guidance_scale=CASE["guidance_scale"],
        generator=torch.Generator().manual_seed(CASE["seed"]),
        height=CASE["height"],
        width=CASE["width"],
        output_type="latent",
    )
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_are_the_folders(network: str, from_folder: PhotoMakerPipeline, from_file: PhotoMakerPipeline) -> None:
    expected, found = (getattr(pipe.text2img, network).state_dict() for pipe in (from_folder, from_file))
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_latents_are_the_folders(from_folder: PhotoMakerPipeline, from_file: PhotoMakerPipeline) -> None:
    torch.testing.assert_close(latents(from_file), latents(from_folder), atol=TOLERANCE, rtol=0)


def test_latents_are_the_authors(from_file: PhotoMakerPipeline) -> None:
    from_file.text2img.register_modules(
        text_encoder=CLIPTextModel.from_pretrained(GOLDEN / "base" / "text_encoder", dtype=torch.float32),
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(
            GOLDEN / "base" / "text_encoder_2", dtype=torch.float32
        ),
    )
    torch.testing.assert_close(latents(from_file), EXPECTED, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "lacking",
    [
        single_file.UNET,
        single_file.UNET + "out.2.weight",
        single_file.VAE,
        single_file.CLIP,
        single_file.OPEN_CLIP,
        single_file.OPEN_CLIP + "ln_final.bias",
    ],
)
def test_a_file_that_lacks_something_is_named(lacking: str, base: Base, tmp_path: Path) -> None:
    file = tmp_path / "part.safetensors"
    save_file({key: value for key, value in load_file(base.file).items() if not key.startswith(lacking)}, file)
    with pytest.raises(CheckpointError, match=r"part\.safetensors: not an SDXL checkpoint"):
        PhotoMakerPipeline.from_pretrained(file, ADAPTER, config=base.config)


def test_a_file_of_anything_else_is_named(base: Base, tmp_path: Path) -> None:
    file = tmp_path / "text.safetensors"
    file.write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match=r"text\.safetensors: not an SDXL checkpoint"):
        PhotoMakerPipeline.from_pretrained(file, ADAPTER, config=base.config)


def deployment(folder: Path, base: Base, config: str) -> Deployment:
    file = folder / "fal.toml"
    file.write_text(
        f'[pipelines.photomaker]\nbase = "{base.file}"\nadapter = "{ADAPTER}"\nconfig = "{config}"\n', encoding="utf-8"
    )
    return Deployment.read(file)


def test_a_deployment_names_the_config(base: Base, tmp_path: Path) -> None:
    (tmp_path / "sdxl").mkdir()
    settings = {
        name: deployment(tmp_path, base, name).pipelines["photomaker"].config for name in ("sdxl", "owner/sdxl")
    }
    assert settings == {"sdxl": str(tmp_path / "sdxl"), "owner/sdxl": "owner/sdxl"}


def test_a_config_that_is_not_there_is_named(base: Base, tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"fal\.toml: pipelines\.photomaker\.config: there is no"):
        deployment(tmp_path, base, "./nowhere")
