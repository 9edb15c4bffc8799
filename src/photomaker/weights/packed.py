"""One network's weights in one file: FlashPack's format, read straight onto the device, every byte checked there.

FlashPack (fal's own library) keeps all tensors of a dtype in one aligned block. Onto a GPU its reader fills that
block with parallel direct reads through pinned memory; on a CPU the block is the page cache itself, mapped.
The check is a sum for each MiB, as 64-bit integers: it runs where the block is, at the speed of its memory,
and so costs milliseconds on a GPU and on a CPU no more than the page faults that the first request would meet.
"""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from flashpack import get_flashpack_file_metadata, pack_to_file
from flashpack.deserialization import FlashTensorStorage, iterate_from_flash_tensor, read_flashpack_file
from flashpack.utils import string_to_dtype
from torch import Tensor

from photomaker.weights.sources import NO_ROOM, CheckpointError

CHUNK = 2**20  # bytes under one sum
SPARE = 64 * 2**20  # bytes of disk left over
TEMPORARY = ".packtmp_"  # FlashPack's own prefix of unfinished files


class CorruptError(Exception):
    """A file is not, byte for byte, what was written.

    Attributes:
        path: Of the file.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Seal:
    """What was written.

    Attributes:
        size: Of the file, in bytes.
        index: The sha256 of its table of tensors.
        sums: Of each block, eight bytes a MiB, in base64.
    """

    size: int
    index: str
    sums: tuple[str, ...]


def write(tensors: Mapping[str, Tensor], path: Path, *, channels_last: bool) -> Seal:
    """Write tensors under a temporary name, then rename; 4-d ones in channels-last order if asked to.

    Raises:
        CheckpointError: The disk has no room for them.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    free = shutil.disk_usage(path.parent).free
    if free < size + SPARE:  # FlashPack writes through a mapping, where a full disk would be a fatal signal
        raise CheckpointError(
            f"{path.parent}: no room to prepare weights: {size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        )
    laid_out = {
        name: (tensor.permute(0, 2, 3, 1) if channels_last and tensor.dim() == 4 else tensor).detach().contiguous()
        for name, tensor in tensors.items()
    }
    try:
        pack_to_file(laid_out, str(path), None)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise CheckpointError(f"{path.parent}: no room to prepare weights") from error
        raise
    blocks, metadata = opened(path, torch.device("cpu"))
    return sealed(path, blocks, metadata)


def read(path: Path, seal: Seal, device: torch.device, *, channels_last: bool) -> dict[str, Tensor]:
    """The tensors, on the device: views of one block for each dtype.

    Raises:
        CorruptError: The file is missing, cut off, or changed anywhere.
    """
    try:
        size = path.stat().st_size
        if size != seal.size:
            raise CorruptError(path, f"{path} has {size} bytes instead of {seal.size}")
        blocks, metadata = opened(path, device)
    except (OSError, ValueError, KeyError) as error:
        raise CorruptError(path, f"{path} cannot be read: {error}") from error
    if sealed(path, blocks, metadata) != seal:
        raise CorruptError(path, f"{path} is not what was written")
    tensors = dict(iterate_from_flash_tensor(FlashTensorStorage(blocks), metadata))
    if channels_last:
        tensors = {name: view.permute(0, 3, 1, 2) if view.dim() == 4 else view for name, view in tensors.items()}
    return tensors


def opened(path: Path, device: torch.device) -> tuple[list[Tensor], dict[str, Any]]:
    """A flat tensor for each dtype in the file, on the device, and the file's table of tensors."""
    metadata = get_flashpack_file_metadata(str(path))
    if device.type == "cuda":
        storage, _ = read_flashpack_file(str(path), device)  # it writes into the table that it works with
        return storage.blocks, metadata
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):  # the kernel reads ahead of the sums
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        size = os.fstat(file.fileno()).st_size
    # A private mapping: several times faster to walk through than FlashPack's own, and safe to write to.
    mapped = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    blocks = [
        mapped[start : start + length].view(string_to_dtype(dtype)).to(device)
        for dtype, start, length in spans(metadata)
    ]
    return blocks, metadata


def spans(metadata: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(dtype, first byte, length in bytes) of each block; files of a single dtype say it more briefly."""
    if "macroblocks" in metadata:
        return [(block["dtype"], block["offset_bytes"], block["length_bytes"]) for block in metadata["macroblocks"]]
    dtype = metadata["target_dtype"]
    return [(dtype, 0, metadata["total_elems"] * string_to_dtype(dtype).itemsize)]


def sealed(path: Path, blocks: list[Tensor], metadata: dict[str, Any]) -> Seal:
    """The seal of what was read."""
    index = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
    return Seal(path.stat().st_size, index, tuple(sums(block) for block in blocks))


def sums(block: Tensor) -> str:
    """A wrapping 64-bit sum for each MiB of a block: exact in any order of addition, so the same on every device."""
    data = block.view(torch.uint8)
    whole = len(data) // CHUNK * CHUNK
    rest = torch.zeros(CHUNK, dtype=torch.uint8, device=data.device)
    rest[: len(data) - whole] = data[whole:]
    chunks = [data[:whole], rest]
    totals = torch.cat([chunk.view(torch.int64).view(-1, CHUNK // 8).sum(dim=1) for chunk in chunks])
    return base64.b64encode(totals.cpu().numpy().tobytes()).decode()
