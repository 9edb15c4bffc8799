"""What each network of a pipeline is made from: the key under which its prepared form is kept."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from photomaker.weights.checkpoints import CheckpointError, LoRA
from photomaker.weights.sources import Hub, digest, identity

FORMAT = 2  # of the prepared form; raised when the same sources are to be prepared anew
CONFIGURATION = "configuration"  # tokenizers and scheduler
FUSED = ("unet", "text_encoder", "text_encoder_2")  # what a LoRA may reach
NETWORKS = (*FUSED, "vae", "id_encoder")
TOKENIZERS = ("tokenizer", "tokenizer_2")
CONFIGURATION_FILES = ("model_index.json", *TOKENIZERS, "scheduler")
CONVOLUTIONAL = ("unet", "vae")


@dataclass(frozen=True)
class Pin:
    """What a file's content should be.

    Attributes:
        key: Of the deployment file, that says so.
        file: On this machine.
        sha256: In hexadecimal.
    """

    key: str
    file: Path
    sha256: str

    def check(self) -> None:
        """Compare.

        Raises:
            CheckpointError: It is no single file, or has another sha256.
        """
        if not self.file.is_file():
            raise CheckpointError(f"{self.file}: not a file, so it cannot have the sha256 that {self.key} pins")
        if (found := digest(self.file)) != self.sha256:
            raise CheckpointError(f"{self.file}: its sha256 is {found}, not {self.sha256} as pinned by {self.key}")


@dataclass(frozen=True)
class Recipe:
    """One pipeline: its files on this machine, and what is done with them.

    Attributes:
        base: A diffusers folder or a single file.
        config: How a single-file base is configured: a diffusers folder or hub id; None: as SDXL base 1.0.
        scheduler: A name of :data:`photomaker.weights.checkpoints.SCHEDULERS`; None keeps the base's own.
        guidance_stop: The part of the steps that see the person after which guidance stops.
        hub: Where diffusers finds what a single file lacks.
        pins: Of those files whose content is pinned.
    """

    base: Path
    adapter: Path
    loras: tuple[LoRA, ...]
    scheduler: str | None
    guidance_stop: float
    dtype: torch.dtype
    channels_last: bool
    hub: Hub
    pins: tuple[Pin, ...] = ()
    config: str | None = None

    def check(self) -> None:
        """Compare what is pinned.

        Raises:
            CheckpointError: A file has another sha256.
        """
        for pin in self.pins:
            pin.check()

    def laid_out(self, part: str) -> bool:
        """Whether a part's convolutions are stored in channels-last order."""
        return self.channels_last and part in CONVOLUTIONAL

    @cached_property
    def keys(self) -> dict[str, str]:
        """Each part's key: a hash of all that its prepared form depends on, and of nothing else."""
        adapter = [identity(self.adapter), self._pinned(self.adapter)]
        loras = [[identity(Path(lora.path)), lora.weight, self._pinned(Path(lora.path))] for lora in self.loras]
        keys = {CONFIGURATION: key_of(CONFIGURATION, self._of_base(*CONFIGURATION_FILES))}
        for part in NETWORKS:
            made_from: list[Any] = [str(self.dtype), self.laid_out(part)]
            if part != "id_encoder":
                made_from.append(self._of_base(part))
            if part in FUSED:
                made_from.append(loras)
            if part in (*FUSED, "id_encoder"):
                made_from.append(adapter)
            keys[part] = key_of(part, made_from)
        return keys

    def _pinned(self, file: Path) -> str | None:
        return next((pin.sha256 for pin in self.pins if pin.file == file), None)

    def _of_base(self, *names: str) -> list[list[str]]:
        if self.base.is_file():
            configured = [] if self.config is None else [self.config]
            if self.config is not None and Path(self.config).is_dir():
                configured = identity(Path(self.config))
            pinned = self._pinned(self.base)
            return [identity(self.base), configured, *([[pinned]] if pinned else [])]
        return [identity(self.base / name) for name in names if (self.base / name).exists()]


def key_of(part: str, made_from: Any) -> str:
    text = json.dumps([FORMAT, part, made_from])
    return f"{part}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
