"""The folder of prepared weights; see :mod:`photomaker.weights.prepared` for its layout."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionXLPipeline
from torch import Tensor, nn

from photomaker.weights import checkpoints, packed
from photomaker.weights.packed import CorruptError, Seal
from photomaker.weights.recipes import CONFIGURATION, FUSED, TOKENIZERS, Recipe
from photomaker.weights.sources import digest, read_json
from photomaker.weights.tokenizers import write_tokenizers

UNUSED = 30 * 24 * 3600  # seconds after which what no runner has opened is deleted
ABANDONED = 24 * 3600  # seconds after which nobody is writing to an unfinished file any more


@dataclass(frozen=True)
class Entry:
    """A prepared network: its file, its class and configuration, and what the file should hold."""

    file: str
    of: str
    config: dict[str, Any]
    seal: Seal


class Store:
    """Prepared networks, by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self, recipe: Recipe) -> set[str]:
        """The parts of a pipeline that are not here."""
        return {part for part, key in recipe.keys.items() if not self._described(part, key).exists()}

    def has(self, recipe: Recipe) -> bool:
        return not self.missing(recipe)

    def entry(self, part: str, key: str) -> Entry:
        """What is known of a network.

        Raises:
            CorruptError: It cannot be read.
        """
        path = self._described(part, key)
        try:
            table = read_json(path)
            with suppress(OSError):
                os.utime(path)  # opened: see prune
            seal = table["seal"]
            return Entry(
                table["file"],
                table["of"],
                table["config"],
                Seal(seal["size"], seal["index"], tuple(seal["sums"])),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(path, f"{path} cannot be read: {error}") from error

    def configuration(self, key: str) -> Path:
        """The folder with a pipeline's tokenizers and scheduler.

        Raises:
            CorruptError: A file in it is missing or changed.
        """
        path = self._described(CONFIGURATION, key)
        try:
            digests = read_json(path)
            with suppress(OSError):
                os.utime(path)
            damaged = [name for name, sha256 in digests.items() if digest(path.parent / name) != sha256]
        except (OSError, ValueError, AttributeError) as error:
            raise CorruptError(path, f"{path.parent} cannot be read: {error}") from error
        if damaged:
            raise CorruptError(path, f"{path.parent / damaged[0]} is not what was written")
        return path.parent

    def add(self, recipe: Recipe, parts: set[str]) -> None:
        """Prepare parts of a pipeline.

        Raises:
            CheckpointError: A source is not what it should be, or the disk is full.
        """
        weights = checkpoints.read_adapter(recipe.adapter)
        if "id_encoder" in parts:
            encoder = checkpoints.make_id_encoder(weights, recipe.adapter, recipe.dtype, "cpu")
            self._add_network(recipe, "id_encoder", encoder, {})
        if parts == {"id_encoder"}:
            return
        sdxl = checkpoints.load_base(recipe.base, recipe.dtype, recipe.hub, recipe.config)
        if parts.intersection(FUSED):
            checkpoints.fuse_loras(sdxl, weights.lora, recipe.loras)
        for part in sorted(parts - {CONFIGURATION, "id_encoder"}):
            network = getattr(sdxl, part)
            config = network.config if isinstance(network.config, Mapping) else network.config.to_dict()
            self._add_network(recipe, part, network, dict(config))
        if CONFIGURATION in parts:
            self._add_configuration(recipe.keys[CONFIGURATION], sdxl)

    def forget_damaged(self, path: Path) -> None:
        """Take a damaged file out, and with it every entry that leads to it."""
        for described in self.folder.glob("*.json"):
            try:
                damaged = read_json(described)["file"] == path.name
            except (OSError, ValueError, KeyError, TypeError):
                damaged = True
            if damaged:
                described.unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def prune(self) -> None:
        """Delete what no runner has opened for long, and after a day what interrupted writing left behind."""
        oldest, abandoned = time.time() - UNUSED, time.time() - ABANDONED
        kept = set()
        with suppress(OSError, ValueError, KeyError, TypeError):  # another runner may be doing the same
            for described in self.folder.glob("*.json"):
                if described.stat().st_mtime < oldest:
                    described.unlink()
                else:
                    kept.add(read_json(described)["file"])
            for file in self.folder.iterdir():
                if file.name.startswith(packed.TEMPORARY):
                    if file.stat().st_mtime < abandoned:
                        shutil.rmtree(file) if file.is_dir() else file.unlink()
                elif file.suffix == ".flashpack":
                    if file.name not in kept and file.stat().st_mtime < oldest:
                        file.unlink()
                elif file.is_dir() and (file / "configuration.json").stat().st_mtime < oldest:
                    shutil.rmtree(file, ignore_errors=True)

    def _described(self, part: str, key: str) -> Path:
        return self.folder / key / "configuration.json" if part == CONFIGURATION else self.folder / f"{key}.json"

    def _add_network(self, recipe: Recipe, part: str, network: nn.Module, config: dict[str, Any]) -> None:
        key = recipe.keys[part]
        written = self.folder / f"{packed.TEMPORARY}{key}-{os.getpid()}"
        tensors: dict[str, Tensor] = network.state_dict()
        try:
            seal = packed.write(tensors, written, channels_last=recipe.laid_out(part))
            written.chmod(0o644)  # FlashPack leaves it to its owner alone; the disk has several
            content = f"{digest(written)}.flashpack"
            if not (self.folder / content).exists():
                written.replace(self.folder / content)
        finally:
            written.unlink(missing_ok=True)
        entry = Entry(content, type(network).__name__, config, seal)
        described = self._described(part, key)
        temporary = described.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(entry), default=str), encoding="utf-8")
        temporary.replace(described)

    def _add_configuration(self, key: str, sdxl: StableDiffusionXLPipeline) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=packed.TEMPORARY) as name:
            folder = Path(name) / key
            sdxl.scheduler.save_pretrained(folder)
            write_tokenizers({name: getattr(sdxl, name) for name in TOKENIZERS}, folder / "tokenizers.json")
            (folder / "pipeline.json").write_text(
                json.dumps({"force_zeros_for_empty_prompt": bool(sdxl.config.force_zeros_for_empty_prompt)})
            )
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            digests = {path.relative_to(folder).as_posix(): digest(path) for path in files}
            (folder / "configuration.json").write_text(json.dumps(digests), encoding="utf-8")
            shutil.rmtree(self.folder / key, ignore_errors=True)  # a damaged one
            with suppress(OSError):  # another runner was faster
                folder.rename(self.folder / key)
