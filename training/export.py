"""Stage `export`: the trained networks as src/photomaker/nano, in the layout of the published checkpoints."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import photomaker
from training.avatar import IMAGE_SIZE, render
from training.identity import HELD_OUT, draw_identity, draw_photo
from training.models import ADAPTER_FILE, ADAPTER_V2_FILE, BASE_DIR, FACES_DIR, STYLE_FILE, Base

NANO = Path(photomaker.__file__).parent / "nano"
EXAMPLES = {"adam": HELD_OUT + 44, "bea": HELD_OUT + 7, "cleo": HELD_OUT + 3, "dan": HELD_OUT + 16}
"""The identities of the example photos, none of them trained on."""
PHOTO_SIZE = 192
PHOTOS_EACH = 4


def published_name(name: str) -> str:
    """PEFT's name of a LoRA tensor → the published adapter's: …attn1.processor.to_q_lora.down.weight."""
    module, _, part = name.rpartition(".lora_")
    path, _, projection = module.removesuffix(".0").rpartition(".")
    direction = "down" if part.startswith("A") else "up"
    return f"unet.{path}.processor.{projection}_lora.{direction}.weight"


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().half().contiguous() for name, value in tensors.items()}


def export_base(target: Path) -> None:
    """The base as a diffusers folder, in half precision."""
    pipe = Base.load(BASE_DIR).pipeline()
    pipe.to(torch.float16).save_pretrained(target, safe_serialization=True)
    for file in target.rglob("config.json"):
        config = json.loads(file.read_text())
        config.pop("_name_or_path", None)  # a folder of the machine that trained it
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def export_adapter(source: Path, target: Path) -> None:
    """An ID encoder and its LoRA in one file, keys as published."""
    state = torch.load(source, weights_only=True)
    tensors = {f"id_encoder.{name}": value for name, value in state["id_encoder"].items()}
    tensors |= {f"lora_weights.{published_name(name)}": value for name, value in state["lora_weights"].items()}
    kept = {name: value for name, value in tensors.items() if not name.endswith("position_ids")}
    save_file(halved(kept), target, metadata={"format": "pt"})


def export_style(target: Path) -> None:
    """The style LoRA with diffusers' own keys."""
    state = torch.load(STYLE_FILE, weights_only=True)
    save_file(halved({f"unet.{name}": value for name, value in state.items()}), target, metadata={"format": "pt"})


def export_examples(target: Path) -> None:
    """Photos of people never trained on: a folder and a zip for each."""
    for name, number in EXAMPLES.items():
        folder = target / name
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target / f"{name}.zip", "w") as archive:
            for photo in range(PHOTOS_EACH):
                file = folder / f"{photo + 1}.png"
                render(draw_identity(number), draw_photo(number, photo), size=PHOTO_SIZE).save(file, optimize=True)
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes())


def set_size(deployment: Path) -> None:
    """The pictures' size in a deployment's file, which is otherwise kept by hand.

    Further sizes are served once they were tried (benchmarks/nano_sizes.py), which those of a new checkpoint were not.
    """
    text = re.sub(r"^(height|width) = \d+", rf"\1 = {IMAGE_SIZE}", deployment.read_text(), flags=re.MULTILINE)
    deployment.write_text(re.sub(r"^sizes = .*\n", "", text, flags=re.MULTILINE))


def export() -> None:
    """Write everything but the model card and what else fal.toml says."""
    for folder in ("base", "examples"):
        shutil.rmtree(NANO / folder, ignore_errors=True)
    NANO.mkdir(exist_ok=True)
    export_base(NANO / "base")
    if ADAPTER_FILE.exists():
        export_adapter(ADAPTER_FILE, NANO / "photomaker-v1.safetensors")
    if ADAPTER_V2_FILE.exists():
        export_adapter(ADAPTER_V2_FILE, NANO / "photomaker-v2.safetensors")
        shutil.copytree(FACES_DIR, NANO / FACES_DIR.name, dirs_exist_ok=True)
    if STYLE_FILE.exists():
        export_style(NANO / "style-lora.safetensors")
    export_examples(NANO / "examples")
    for deployment in NANO.glob("*.toml"):
        set_size(deployment)
    for file in NANO.rglob("*.safetensors"):
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in NANO.rglob("*") if file.is_file())
    print(f"{NANO}: {size / 1e6:.1f} MB", flush=True)
