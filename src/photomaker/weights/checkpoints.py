"""Published weights, as their authors left them, become a pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import Tensor

from photomaker.deployment import SCHEDULERS
from photomaker.method.id_encoder import IDEncoder, build_id_encoder
from photomaker.method.schedulers import without_waits
from photomaker.weights.sources import WEIGHTS, CheckpointError, Hub, variant_of

__all__ = ["SCHEDULERS", "Adapter", "CheckpointError", "LoRA", "load", "make_scheduler"]


@dataclass(frozen=True)
class LoRA:
    """A LoRA of the base: a ``.safetensors`` path or "owner/repository/file" on the hub, and its weight."""

    path: str | Path
    weight: float = 1.0


@dataclass(frozen=True)
class Adapter:
    """The two halves of a published PhotoMaker file."""

    id_encoder: dict[str, Tensor]
    lora: dict[str, Tensor]


def load(
    base: str | Path,
    adapter: str | Path,
    *,
    config: str | Path | None = None,
    loras: Sequence[LoRA | tuple[str | Path, float]] = (),
    scheduler: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    hub: Hub | None = None,
) -> tuple[StableDiffusionXLPipeline, IDEncoder]:
    """A stock SDXL pipeline with the adapter's LoRA and the others fused in, and the adapter's ID encoder.

    Raises:
        CheckpointError: Something is missing, or is not what it should be.
    """
    weights = read_adapter(adapter)
    sdxl = load_base(base, dtype, hub, config)
    if scheduler is not None:
        sdxl.scheduler = make_scheduler(scheduler, dict(sdxl.scheduler.config))
    fuse_loras(sdxl, weights.lora, [lora if isinstance(lora, LoRA) else LoRA(*lora) for lora in loras])
    sdxl.to(device)
    return sdxl, make_id_encoder(weights, adapter, dtype, device)


def load_base(
    base: str | Path, dtype: torch.dtype, hub: Hub | None = None, config: str | Path | None = None
) -> StableDiffusionXLPipeline:
    """A diffusers folder, a hub id or a single-file checkpoint, as a stock pipeline.

    A single file holds weights alone: its sizes, tokenizers and scheduler are those of ``config``, a diffusers
    folder or hub id, by default of SDXL base 1.0 on the hub.

    Raises:
        CheckpointError: It is missing, or is no SDXL checkpoint.
    """
    hub = hub or Hub(half=dtype.itemsize == 2)
    path = hub.base(base)
    options: dict[str, Any] = {"dtype": dtype, "add_watermarker": False}
    try:
        if path.is_file():
            options |= {"config": config and str(config), "cache_dir": hub.folder}
            sdxl = StableDiffusionXLPipeline.from_single_file(str(path), **options)
            for part in WEIGHTS:
                for name, weight in getattr(sdxl, part).named_parameters():
                    if weight.is_meta:  # diffusers lets it pass
                        raise ValueError(f"{part}.{name} is missing")
            return sdxl
        variant = variant_of((file.name for file in path.glob("unet/*.safetensors")), hub.half)
        return StableDiffusionXLPipeline.from_pretrained(str(path), variant=variant, **options)
    except Exception as error:
        raise CheckpointError(f"{base}: not an SDXL checkpoint that can be loaded: {error}") from error


def read_adapter(adapter: str | Path) -> Adapter:
    """A PhotoMaker file in either published form: a torch pickle of two dictionaries, or safetensors.

    Raises:
        CheckpointError: There is no such file, or it is no PhotoMaker adapter.
    """
    path = Hub().file(adapter)
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
            halves = {
                half: {
                    key.removeprefix(f"{half}."): value for key, value in tensors.items() if key.startswith(f"{half}.")
                }
                for half in ("id_encoder", "lora_weights")
            }
        else:
            halves = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        found = Adapter(halves["id_encoder"], halves["lora_weights"])
    except Exception as error:
        raise CheckpointError(f"{adapter}: not a PhotoMaker adapter: {error}") from error
    if not found.id_encoder or not found.lora:
        raise CheckpointError(f"{adapter}: not a PhotoMaker adapter: it lacks id_encoder or lora_weights")
    return found


def make_id_encoder(adapter: Adapter, source: str | Path, dtype: torch.dtype, device: torch.device | str) -> IDEncoder:
    """The ID encoder in a PhotoMaker file.

    Raises:
        CheckpointError: Its tensors are not an ID encoder's.
    """
    try:
        return build_id_encoder(adapter.id_encoder, dtype=dtype, device=device)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error


def fuse_loras(sdxl: StableDiffusionXLPipeline, adapter: dict[str, Tensor], others: Sequence[LoRA]) -> None:
    """Fuse the adapter's LoRA at weight 1 and the others at theirs, as the authors' notebooks do."""
    for source, weight, tensors in (
        ("the adapter", 1.0, adapter),
        *((lora.path, lora.weight, load_file(Hub().file(lora.path))) for lora in others),
    ):
        try:  # one by one: what is fused no longer counts as an adapter of the model
            sdxl.load_lora_weights(dict(tensors), adapter_name="fused")
            sdxl.fuse_lora(lora_scale=weight)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"{source}: not a LoRA of this base: {error}") from error
        sdxl.unload_lora_weights()


def make_scheduler(name: str, config: dict[str, Any]) -> Any:
    """A scheduler by its short name, with the base's own schedule."""
    if name not in SCHEDULERS:
        raise CheckpointError(f"unknown scheduler {name!r}: one of {', '.join(sorted(SCHEDULERS))}")
    return without_waits(getattr(diffusers, SCHEDULERS[name]).from_config(config))
