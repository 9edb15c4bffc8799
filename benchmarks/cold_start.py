"""How long a start takes from disk to a pipeline whose weights are all in memory, and how much memory it takes.

    python benchmarks/cold_start.py [--folder FOLDER] [--repeat 3] [--ways WAY ...] [--caches warm cold]

Makes a full-size random checkpoint in the real layout (7.7 GB; and as much three times over, prepared in each form),
then loads it in fresh processes, with a cold and a warm page cache, side by side with `cat FILES > /dev/null`.
Cold: the kernel has dropped the files (posix_fadvise); the interpreter and its libraries stay in the cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from flashpack import assign_from_file, pack_to_file
from full_size import id_encoder_shapes, make
from safetensors.torch import load_file, save_file
from torch import nn

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment
from photomaker.method.id_encoder import IDEncoder, build_id_encoder
from photomaker.weights import prepared
from photomaker.weights.assembly import Configuration, empty
from photomaker.weights.recipes import CONFIGURATION, NETWORKS
from photomaker.weights.requirements import device_of
from photomaker.weights.store import Store

WAYS = {
    "authors": "from_pretrained + LoRA fuse",
    "safetensors": "prepared, safetensors",
    "flashpack": "prepared, FlashPack's own loader",
    "photomaker": "this project",
}
PAGE = 4096


def deployment(folder: Path) -> Deployment:
    file = folder / "fal.toml"
    file.write_text(
        f'device = "auto"\ndtype = "bfloat16"\ncache_dir = "{folder}/cache"\n'
        f'[pipelines.photomaker]\nbase = "{folder}/base"\nadapter = "{folder}/photomaker-v1.bin"\n'
    )
    return Deployment.read(file)


def networks(folder: Path) -> tuple[Configuration, Any, dict[str, nn.Module]]:
    """Empty networks of the prepared pipeline."""
    settings = deployment(folder)
    recipe = prepared.located(settings, print, None)["photomaker"]
    store = Store(folder / "cache" / "prepared")
    entries = {part: store.entry(part, recipe.keys[part]) for part in NETWORKS}
    modules = {part: empty(entry) for part, entry in entries.items() if entry.config}
    return Configuration(store.configuration(recipe.keys[CONFIGURATION])), recipe, modules


def load(way: str, folder: Path) -> PhotoMakerPipeline:
    settings = deployment(folder)
    device = device_of(settings)
    if way == "photomaker":
        return prepared.open_pipelines(settings, log=lambda _: None)["photomaker"]
    if way == "authors":
        return PhotoMakerPipeline.from_pretrained(
            folder / "base", folder / "photomaker-v1.bin", dtype=torch.bfloat16, device=device
        )
    configuration, recipe, modules = networks(folder)
    if way == "safetensors":
        tensors = {part: load_file(file_of(folder, way, part), device=str(device)) for part in NETWORKS}
        for part, module in modules.items():
            module.load_state_dict(tensors[part], assign=True)
        modules["id_encoder"] = build_id_encoder(tensors["id_encoder"], dtype=torch.bfloat16, device=device)
    else:
        shapes = {key: torch.empty(shape, device="meta") for key, shape in id_encoder_shapes().items()}
        with init_empty_weights(include_buffers=False):
            modules["id_encoder"] = IDEncoder(shapes)
        for part, module in modules.items():
            assign_from_file(module, str(file_of(folder, way, part)), device=device)
    for module in modules.values():
        module.to(device).eval()
    return configuration.pipeline(modules, recipe)


def file_of(folder: Path, way: str, part: str) -> Path:
    return folder / way / f"{part}.{way}"


def prepare(folder: Path) -> None:
    """Every form, where it is not there yet."""
    make(folder)
    prepared.fetch(deployment(folder), log=print)
    pipe = None
    for way in ("safetensors", "flashpack"):
        if all(file_of(folder, way, part).exists() for part in NETWORKS):
            continue
        (folder / way).mkdir(exist_ok=True)
        pipe = pipe or load("photomaker", folder)
        for part in NETWORKS:
            network = pipe.id_encoder if part == "id_encoder" else getattr(pipe.text2img, part)
            if way == "safetensors":
                save_file(network.state_dict(), file_of(folder, way, part))
            else:
                pack_to_file(network.state_dict(), str(file_of(folder, way, part)), None)


def files(way: str, folder: Path) -> list[Path]:
    """What a way reads."""
    if way == "authors":
        return [folder / "photomaker-v1.bin", *folder.glob("base/*/*.safetensors")]
    if way == "photomaker":
        return list(folder.glob("cache/prepared/*.flashpack"))
    return [file_of(folder, way, part) for part in NETWORKS]


def drop(paths: list[Path]) -> None:
    """Take these files out of the page cache."""
    os.sync()
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touch(pipe: PhotoMakerPipeline) -> None:
    """Make sure that every page of the weights is in memory, whichever way they were mapped."""
    for network in (*(getattr(pipe.text2img, part) for part in NETWORKS if part != "id_encoder"), pipe.id_encoder):
        for weight in network.parameters():
            flat = weight.detach().as_strided((weight.numel(),), (1,))
            flat[:: PAGE // flat.element_size()].sum()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def memory(field: str) -> float:
    """A line of /proc/self/status, in GB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e9


def child(way: str, folder: Path, cold: bool) -> None:
    """One load in a process of its own; imports are not counted, CUDA's start neither."""
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
    prepared.hush()
    if cold:
        drop(files(way, folder))
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = memory("VmRSS")
    start = time.perf_counter()
    pipe = load(way, folder)
    touch(pipe)  # what is only mapped so far is read now
    resident = time.perf_counter()
    touch(pipe)  # the second walk reads nothing: what it takes is no part of loading
    walk = time.perf_counter() - resident
    print(
        json.dumps(
            {
                "resident": resident - walk - start,
                "peak": memory("VmHWM") - before,
                "own": memory("RssAnon"),
            }
        )
    )


def cat(paths: list[Path], cold: bool) -> float:
    if cold:
        drop(paths)
    start = time.perf_counter()
    subprocess.run(["cat", *map(str, paths)], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/cold_start"))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--caches", nargs="+", choices=("warm", "cold"), default=["warm", "cold"])
    parser.add_argument("--child", nargs=2, metavar=("WAY", "CACHE"))
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.child:
        child(arguments.child[0], folder, arguments.child[1] == "cold")
        return
    prepare(folder)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    print(f"{device}; medians of {arguments.repeat} (the authors' way: once), and the spread\n")
    print("| way | cache | seconds | `cat` of its files | ratio | peak memory, GB | of it not page cache, GB |")
    print("|---|---|---|---|---|---|---|")
    for cache in arguments.caches:
        for way in reversed(arguments.ways):
            title = WAYS[way]
            measured, cats = [], []
            for _ in range(1 if way == "authors" else arguments.repeat):  # tens of seconds: once will do
                if cache == "warm":  # pages that came one by one are slower to walk than those of one long reading
                    cat(files(way, folder), cold=True)
                    cat(files(way, folder), cold=False)
                cats.append(cat(files(way, folder), cache == "cold"))
                command = [sys.executable, __file__, "--folder", str(folder), "--child", way, cache]
                child_output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
                measured.append(json.loads(child_output))
            seconds = [result["resident"] for result in measured]
            took, read = statistics.median(seconds), statistics.median(cats)
            print(
                f"| {title} | {cache} | {took:.2f} ({min(seconds):.2f}-{max(seconds):.2f}) | {read:.2f} "
                f"| {took / read:.2f} | {max(result['peak'] for result in measured):.1f} "
                f"| {max(result['own'] for result in measured):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
