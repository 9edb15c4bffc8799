"""From the name of a checkpoint to files on this machine: paths as they are, names on the hub downloaded once.

Downloads are huggingface_hub's: under a temporary name until they are whole, resumed where a connection broke. Of
several runners that start at once one downloads, and the others wait for it; where it is killed, the next one goes on
from the bytes on the disk (:mod:`photomaker.weights.partial_downloads`). What is there already is used without asking
the hub, so a start needs no network, and a branch such as "main" stays where it was when it was first downloaded.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import tqdm

from photomaker.weights.locks import exclusive
from photomaker.weights.partial_downloads import PartialDownloads

WEIGHTS = ("unet", "vae", "text_encoder", "text_encoder_2")
SMALL = 32 * 2**20  # bytes; smaller files are known by their content, larger ones by size and time
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CONFIGURATION = (".json", ".txt", ".model")

Progress = Callable[[str, int, int], None]
"""Told (name, bytes done, bytes in all) while something is downloaded."""


class CheckpointError(Exception):
    """Weights are missing, or are not what they should be."""


@dataclass(frozen=True)
class Hub:
    """Where downloads go, and who is told.

    Attributes:
        folder: The cache in huggingface_hub's layout; None: the user's own, shared with other programs.
        half: Prefer float16 files where a repository has both widths, as the authors' notebooks do.
        progress: Told about bytes; None: nobody.
    """

    folder: Path | None = None
    half: bool = False
    progress: Progress | None = None

    def file(self, source: str | Path, *, revision: str | None = None) -> Path:
        """A path as it is, or "owner/repository/file" from the hub.

        Raises:
            CheckpointError: It is neither here nor there, or does not fit on the disk.
        """
        path = Path(source)
        if not path.is_file():
            owner, _, rest = str(source).partition("/")
            repository, _, name = rest.partition("/")
            if path.is_absolute() or not name:
                raise CheckpointError(f"{source}: there is no such file")
            get = partial(hf_hub_download, f"{owner}/{repository}", name, revision=revision)
            with suppress(LocalEntryNotFoundError):
                path = Path(get(cache_dir=self.folder, local_files_only=True))
            if not path.is_file():
                path = self._download(str(source), get, f"{owner}/{repository}", [name], revision)
        return path

    def base(self, source: str | Path, *, revision: str | None = None) -> Path:
        """A diffusers folder or a single file: a path as it is, "owner/repository", or "owner/repository/file".

        Raises:
            CheckpointError: It is neither here nor on the hub, or does not fit on the disk.
        """
        path = Path(source)
        if path.exists():
            return path
        if path.is_absolute() or str(source).count("/") != 1:
            return self.file(source, revision=revision)
        get = partial(snapshot_download, str(source), revision=revision)
        marker = f".complete{'-half' if self.half else ''}"
        local: Path | None = None
        with suppress(LocalEntryNotFoundError):
            local = Path(get(cache_dir=self.folder, local_files_only=True))
        if local is not None and (local / marker).exists():
            return local
        try:
            names = chosen(HfApi(endpoint=endpoint()).list_repo_files(str(source), revision=revision), self.half)
        except Exception as error:
            if local is not None:  # downloaded by another program, and no network now
                return local
            raise CheckpointError(f"{source}: neither a folder here nor on the hub: {error}") from error
        folder = self._download(str(source), partial(get, allow_patterns=names), str(source), names, revision)
        (folder / marker).touch()
        return folder

    def _download(
        self, source: str, get: Callable[..., str], repository: str, names: list[str], revision: str | None
    ) -> Path:
        unfinished = PartialDownloads(repository, self.folder, endpoint())
        told = bar(source, self.progress)
        try:
            with exclusive(unfinished.lock):
                unfinished.finish(names, revision, told)
                return Path(get(cache_dir=self.folder, endpoint=endpoint(), tqdm_class=told))
        except OSError as error:
            if error.errno in NO_ROOM:
                raise CheckpointError(f"{source}: there is no room for it in {self.folder or 'the cache'}") from error
            raise CheckpointError(f"{source}: neither here nor on the hub: {error}") from error
        except Exception as error:
            raise CheckpointError(f"{source}: could not be downloaded: {error}") from error


def endpoint() -> str | None:
    """The hub's address, where it is another than huggingface_hub's own."""
    return os.environ.get("HF_ENDPOINT")


def chosen(names: Iterable[str], half: bool) -> list[str]:
    """Of a diffusers repository's files those that a pipeline reads: safetensors where there are any, in one width."""
    names = list(names)
    picked = [
        name
        for name in names
        if name == "model_index.json"
        or (name.startswith(("scheduler/", "tokenizer/", "tokenizer_2/")) and name.endswith(CONFIGURATION))
        or (name.count("/") == 1 and name.startswith(WEIGHTS) and name.endswith("/config.json"))
    ]
    for part in WEIGHTS:
        files = [name for name in names if name.startswith(f"{part}/") and name.endswith((".safetensors", ".bin"))]
        files = [name for name in files if name.endswith(".safetensors")] or files
        variant = variant_of(files, half)
        files = [name for name in files if variant_in(name) == variant]
        indexes = [f"{part}/{name}" for name in index_names(variant) if f"{part}/{name}" in names]
        picked += files + indexes
    return picked


def variant_of(files: Iterable[str], half: bool) -> str | None:
    """ "fp16" where such files are there and wanted, or there are no others; else None."""
    variants = {variant_in(file) for file in files}
    return "fp16" if "fp16" in variants and (half or None not in variants) else None


def variant_in(file: str) -> str | None:
    """The variant in a weights file's name: "fp16" in "model.fp16-00001-of-00002.safetensors"; None if plain."""
    words = Path(file).name.split(".")[1:-1]
    return words[0].partition("-")[0] if words else None


def index_names(variant: str | None) -> list[str]:
    """Names of the tables of sharded weights."""
    end = f".{variant}.json" if variant else ".json"
    return [f"{stem}.safetensors.index{end}" for stem in ("diffusion_pytorch_model", "model")]


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(path: Path) -> list[str]:
    """What changes when a file, or any file of a folder, changes: cheap even for gigabytes."""
    if path.is_dir():
        return [
            f"{file.relative_to(path)}={identity(file)[0]}"
            for file in sorted(path.rglob("*"))
            if file.is_file() and not file.name.startswith(".")
        ]
    real = path.resolve()
    if real.parent.name == "blobs":  # the hub's cache names files by their content
        return [real.name]
    state = real.stat()
    if state.st_size <= SMALL:
        return [digest(real)]
    return [f"{real}:{state.st_size}:{state.st_mtime_ns}"]


def bar(source: str, progress: Progress | None) -> type[Any]:
    """A tqdm class that draws nothing and tells ``progress`` about bytes."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            name = str(options.pop("name", None))
            self.bytes = options.get("unit") == "B" and not name.endswith(".transfer")  # counted once
            super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]
            self.done = int(options.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.done += int(n or 0)
            if progress is not None and self.bytes:
                progress(source, self.done, int(self.total or 0))
            return None

    return Bar


def read_json(path: Path) -> Any:
    """A JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))
