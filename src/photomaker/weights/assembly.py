"""Prepared networks become pipelines: threads read and check files while this one builds the empty modules."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers import StableDiffusionXLPipeline
from flashpack.parallel_read import release_pinned_pool
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from photomaker.collector import collector_at_rest
from photomaker.method.id_encoder import build_id_encoder
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.weights.checkpoints import make_scheduler
from photomaker.weights.packed import CorruptError, read
from photomaker.weights.recipes import CONFIGURATION, NETWORKS, Recipe
from photomaker.weights.sources import read_json
from photomaker.weights.store import Entry, Store
from photomaker.weights.tokenizers import read_tokenizers

Tensors = dict[str, Tensor]


def assemble(store: Store, recipes: dict[str, Recipe], device: torch.device) -> dict[str, PhotoMakerPipeline]:
    """The pipelines of these recipes; networks with the same weights are the same module.

    Raises:
        CorruptError: Something in the store is not what was written.
    """
    entries = {
        (name, part): store.entry(part, recipe.keys[part]) for name, recipe in recipes.items() for part in NETWORKS
    }
    readers = 2
    if device.type == "cuda":
        readers = 1  # FlashPack reads each file with many threads
    with collector_at_rest(), ThreadPoolExecutor(readers, "weights") as reader:
        reads: dict[str, Future[Tensors]] = {}
        for (name, part), entry in entries.items():
            if entry.file not in reads:
                layout = recipes[name].laid_out(part)
                work = partial(read, store.folder / entry.file, entry.seal, device, channels_last=layout)
                reads[entry.file] = reader.submit(work)
        try:
            modules: dict[str, nn.Module] = {}
            configurations = {
                name: Configuration(store.configuration(recipe.keys[CONFIGURATION])) for name, recipe in recipes.items()
            }
            for entry in entries.values():  # all that needs no weights, before waiting for any
                if entry.file not in modules and entry.config:
                    modules[entry.file] = empty(entry)
            for entry in entries.values():
                if entry.file in reads:
                    tensors = reads.pop(entry.file).result()
                    modules[entry.file] = filled(modules.get(entry.file), tensors, store.folder / entry.file, device)
        finally:
            for future in reads.values():
                future.cancel()
            release_pinned_pool()  # a gigabyte or two of the host's memory, through which FlashPack reads onto a GPU
    return {
        name: configurations[name].pipeline({part: modules[entries[name, part].file] for part in NETWORKS}, recipe)
        for name, recipe in recipes.items()
    }


class Configuration:
    """A pipeline's tokenizers and scheduler."""

    def __init__(self, folder: Path) -> None:
        self.tokenizers = read_tokenizers(folder / "tokenizers.json")
        self.schedule: dict[str, Any] = read_json(folder / "scheduler_config.json")
        self.options: dict[str, Any] = read_json(folder / "pipeline.json")

    def pipeline(self, modules: dict[str, nn.Module], recipe: Recipe) -> PhotoMakerPipeline:
        """The pipeline of these networks."""
        networks: dict[str, Any] = dict(modules)
        id_encoder = networks.pop("id_encoder")
        if recipe.scheduler is None:
            scheduler = getattr(diffusers, self.schedule["_class_name"]).from_config(self.schedule)
        else:
            scheduler = make_scheduler(recipe.scheduler, self.schedule)
        sdxl = StableDiffusionXLPipeline(
            **networks, **self.tokenizers, scheduler=scheduler, add_watermarker=False, **self.options
        )
        return PhotoMakerPipeline(sdxl, id_encoder, guidance_stop=recipe.guidance_stop)


@cache
def network_class(name: str) -> Any:
    return getattr(diffusers, name, None) or getattr(transformers, name)


def empty(entry: Entry) -> nn.Module:
    """A network without weights; buffers that no file holds are real."""
    cls = network_class(entry.of)
    with no_init_weights(), init_empty_weights(include_buffers=False):
        if issubclass(cls, diffusers.ModelMixin):
            network: nn.Module = cls.from_config(entry.config)
        else:
            network = cls(cls.config_class.from_dict(entry.config))
    return network


def filled(network: nn.Module | None, tensors: Tensors, path: Path, device: torch.device) -> nn.Module:
    """The network with its weights; without a network, the ID encoder that such weights imply."""
    dtype = next(iter(tensors.values())).dtype
    try:
        if network is None:
            with no_init_weights():
                return build_id_encoder(tensors, dtype=dtype, device=device)
        network.load_state_dict(tensors, assign=True)
    except (RuntimeError, ValueError) as error:
        raise CorruptError(path, f"{path} does not fit its network: {error}") from error
    return network.to(device).eval().requires_grad_(False)
