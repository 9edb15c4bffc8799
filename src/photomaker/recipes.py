"""What each network of a pipeline is made from: the key under which its prepared form is kept."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from photomaker.checkpoints import CheckpointError, LoRA
from photomaker.sources import Hub, digest, identity

FORMAT = 2  # of the prepared form; raised when the same sources are to be prepared anew
FRAME = "frame"  # tokenizers and scheduler
FUSED = ("unet", "text_encoder", "text_encoder_2")  # what a LoRA may reach
NETWORKS = (*FUSED, "vae", "id_encoder")
TOKENIZERS = ("tokenizer", "tokenizer_2")
FRAME_FILES = ("model_index.json", *TOKENIZERS, "scheduler")
CONVOLUTIONAL = ("unet", "vae")


@dataclass(frozen=True)
class Recipe:
    """One pipeline: its files on this machine, and what is done with them.

    Attributes:
        base: A diffusers folder or a single file.
        config: How a single-file base is configured: a diffusers folder or hub id; None: as SDXL base 1.0.
        scheduler: A name of :data:`photomaker.checkpoints.SCHEDULERS`; None keeps the base's own.
        hub: Where diffusers finds what a single file lacks.
        pinned: The sha256 that the adapter and each LoRA should have, or None.
    """

    base: Path
    adapter: Path
    loras: tuple[LoRA, ...]
    scheduler: str | None
    dtype: torch.dtype
    channels_last: bool
    hub: Hub
    pinned: tuple[str | None, ...]
    config: str | None = None

    def check(self) -> None:
        """Compare the pinned sha256.

        Raises:
            CheckpointError: A file has another.
        """
        for file, sha256 in zip((self.adapter, *(lora.path for lora in self.loras)), self.pinned, strict=True):
            if sha256 is not None and (found := digest(Path(file))) != sha256:
                raise CheckpointError(f"{file}: its sha256 is {found}, not {sha256} as pinned")

    def laid_out(self, part: str) -> bool:
        """Whether a part's convolutions are stored in channels-last order."""
        return self.channels_last and part in CONVOLUTIONAL

    @cached_property
    def keys(self) -> dict[str, str]:
        """Each part's key: a hash of all that its prepared form depends on, and of nothing else."""
        adapter = [identity(self.adapter), self.pinned[0]]
        loras = [
            [identity(Path(lora.path)), lora.weight, sha256]
            for lora, sha256 in zip(self.loras, self.pinned[1:], strict=True)
        ]
        keys = {FRAME: key_of(FRAME, self._of_base(*FRAME_FILES))}
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

    def _of_base(self, *names: str) -> list[list[str]]:
        if self.base.is_file():
            configured = [] if self.config is None else [self.config]
            if self.config is not None and Path(self.config).is_dir():
                configured = identity(Path(self.config))
            return [identity(self.base), configured]
        return [identity(self.base / name) for name in names if (self.base / name).exists()]


def key_of(part: str, made_from: Any) -> str:
    text = json.dumps([FORMAT, part, made_from])
    return f"{part}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
