"""A deployment's pipelines, ready on the device: prepared on the first start, read back on every later one.

Preparing fuses the LoRAs, casts, lays convolutions out as they will run, and writes each network to its own file
(:mod:`photomaker.weights.packed`) on the runners' shared disk:

    prepared/KEY.json             what a network was made from (hashed: KEY), its class, configuration and seal
    prepared/CONTENT.flashpack    its weights, named by their own sha256, so that equal networks are one file
    prepared/KEY/                 tokenizers (:mod:`photomaker.weights.tokenizers`) and scheduler

A changed deployment changes the keys of just what it touches; the rest is found again. Files are written under
temporary names and renamed; a lock lets one runner prepare while others wait for it. What cannot be read back as it
was written is made again.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import diffusers
import torch
import transformers

from photomaker.deployment import Deployment, PipelineSettings, on_disk, shared_disk
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.weights import checkpoints
from photomaker.weights.assembly import assemble
from photomaker.weights.checkpoints import CheckpointError, LoRA
from photomaker.weights.locks import exclusive
from photomaker.weights.packed import CorruptError
from photomaker.weights.recipes import Pin, Recipe
from photomaker.weights.requirements import check_compiler, device_of
from photomaker.weights.sources import Hub, Progress
from photomaker.weights.store import Store

Log = Callable[[str], None]


def open_pipelines(
    deployment: Deployment, *, log: Log, progress: Progress | None = None
) -> dict[str, PhotoMakerPipeline]:
    """Every pipeline of a deployment, on its device, equal networks shared.

    Args:
        deployment: What to open.
        log: Told in a line about each thing that takes long.
        progress: Told about downloads, in bytes.

    Raises:
        CheckpointError: A checkpoint is missing or wrong, or the disk is full.
        DeploymentError: There is no GPU where one is asked for.
    """
    hush()
    device = device_of(deployment)
    if device.type == "cuda":
        check_compiler(deployment, log)
    recipes = located(deployment, log, progress)
    if not deployment.inference.prepared:
        return {name: loaded(recipe, device) for name, recipe in recipes.items()}
    store = Store(cache_root(deployment) / "prepared")
    started = perf_counter()
    for _ in range(1 + sum(len(recipe.keys) for recipe in recipes.values())):
        make(store, recipes, log)
        try:
            pipelines = assemble(store, recipes, device)
        except CorruptError as error:
            log(f"{error}; preparing it again")
            store.forget_damaged(error.path)
            continue
        log(f"{', '.join(pipelines)} on {device} after {perf_counter() - started:.1f} s")
        return pipelines
    raise CheckpointError(f"{store.folder}: what is written there does not stay as it was written")


def fetch(deployment: Deployment, *, log: Log, progress: Progress | None = None) -> None:
    """Download every checkpoint of a deployment, check the pinned sha256, and prepare what it serves.

    Raises:
        CheckpointError: A checkpoint is missing or wrong, or the disk is full.
    """
    hush()
    recipes = located(deployment, log, progress, check=True)
    if deployment.inference.prepared:
        make(Store(cache_root(deployment) / "prepared"), recipes, log)


def hush() -> None:
    """Leave the libraries' notices and bars out of the log, which the callers of a deployment read."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def cache_root(deployment: Deployment) -> Path:
    """Where a deployment keeps its weights: its own choice, the runners' shared disk, or the user's cache."""
    if deployment.cache_dir is not None:
        return Path(deployment.cache_dir).expanduser()
    if (disk := shared_disk()) is not None:
        return disk / "photomaker"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "photomaker"


def located(deployment: Deployment, log: Log, progress: Progress | None, *, check: bool = False) -> dict[str, Recipe]:
    """Each pipeline's recipe, its files on this machine; pinned sha256 are compared where ``check`` says so."""
    dtype: torch.dtype = getattr(torch, deployment.dtype)
    root = cache_root(deployment)
    own = deployment.cache_dir is not None or shared_disk() is not None
    hub = Hub(root / "hub" if own else None, half=dtype.itemsize == 2, progress=progress)
    recipes: dict[str, Recipe] = {}
    for name, settings in deployment.pipelines.items():
        started = perf_counter()
        recipes[name] = recipe = recipe_of(name, settings, hub, dtype, deployment.inference.channels_last)
        if check or not deployment.inference.prepared:
            recipe.check()
        if (took := perf_counter() - started) > 1:
            log(f"{name}: checkpoints there after {took:.1f} s")
    return recipes


def recipe_of(name: str, settings: PipelineSettings, hub: Hub, dtype: torch.dtype, channels_last: bool) -> Recipe:
    """The recipe of the pipeline of this name, its checkpoints brought to this machine."""
    base = hub.base(on_disk(settings.base), revision=settings.revision)
    adapter = hub.file(on_disk(settings.adapter), revision=settings.adapter_revision)
    loras = [hub.file(on_disk(lora.path), revision=lora.revision) for lora in settings.loras]
    pinned = [("base_sha256", base, settings.base_sha256), ("adapter_sha256", adapter, settings.adapter_sha256)]
    for number, (lora, file) in enumerate(zip(settings.loras, loras, strict=True)):
        pinned.append((f"loras.{number}.sha256", file, lora.sha256))
    return Recipe(
        base=base,
        adapter=adapter,
        loras=tuple(LoRA(file, lora.weight) for lora, file in zip(settings.loras, loras, strict=True)),
        scheduler=settings.scheduler,
        guidance_stop=settings.guidance_stop,
        dtype=dtype,
        channels_last=channels_last,
        hub=replace(hub, progress=None),
        pins=tuple(Pin(f"pipelines.{name}.{key}", file, sha256) for key, file, sha256 in pinned if sha256 is not None),
        config=None if settings.config is None else on_disk(settings.config),
    )


def loaded(recipe: Recipe, device: torch.device) -> PhotoMakerPipeline:
    """A pipeline straight from the published files."""
    return PhotoMakerPipeline(
        *checkpoints.load(
            recipe.base,
            recipe.adapter,
            config=recipe.config,
            loras=recipe.loras,
            scheduler=recipe.scheduler,
            dtype=recipe.dtype,
            device=device,
            hub=recipe.hub,
        ),
        guidance_stop=recipe.guidance_stop,
    )


def make(store: Store, recipes: dict[str, Recipe], log: Log) -> None:
    """Write what the store does not have yet, one runner at a time."""
    if all(store.has(recipe) for recipe in recipes.values()):
        return
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{store.folder}: cannot be written: {error.strerror}") from error
    with exclusive(store.folder / ".lock", lambda: log("another runner is preparing the weights; waiting for it")):
        for name, recipe in recipes.items():
            missing = store.missing(recipe)
            if missing:
                log(f"{name}: preparing {', '.join(sorted(missing))}")
                started = perf_counter()
                recipe.check()
                store.add(recipe, missing)
                log(f"{name}: prepared in {perf_counter() - started:.1f} s")
        store.prune()
