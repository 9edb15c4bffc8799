"""What was worked out from a network, kept on the runners' disk under the network's own content.

Beside the prepared weights, and like them: written under a temporary name and renamed, made again when it cannot be
read.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from photomaker.weights.packed import sums
from photomaker.weights.sources import read_json


def content_of(network: nn.Module) -> str:
    """A name for a network's weights: of their names and sizes, and of a sum for each MiB, made where they are."""
    weights = sorted(network.state_dict().items())
    described = [f"{name} {weight.dtype} {tuple(weight.shape)}" for name, weight in weights]
    flat = torch.cat([weight.detach().contiguous().view(-1).view(torch.uint8) for _, weight in weights])
    return hashlib.sha256("\n".join([*described, sums(flat)]).encode()).hexdigest()[:24]


def kept(folder: Path, network: nn.Module, make: Callable[[], Any]) -> Any:
    """What ``make`` says of a network, as JSON; made only where it is not in the folder yet."""
    path = folder / f"{content_of(network)}.json"
    with suppress(OSError, ValueError):
        return read_json(path)
    made = json.loads(json.dumps(make()))
    keep(path, made)
    return made


def keep(path: Path, made: Any) -> None:
    """Write it as JSON for later starts; where the disk is full or read-only, they make it again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(made), encoding="utf-8")
        temporary.replace(path)
