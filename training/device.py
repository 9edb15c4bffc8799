"""Where networks train: on the GPU if there is one, else on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def multiplies_halves() -> bool:
    """Whether there is arithmetic in bfloat16; a CPU without it would emulate it, many times slower."""
    return DEVICE.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def half_precision() -> AbstractContextManager[object]:
    """Autocast to bfloat16 on that device, where it has it."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=multiplies_halves())


def per_step(*, cpu: int, gpu: int) -> int:
    """How many pictures a step takes: few for a CPU, and so many that a GPU is kept busy."""
    return gpu if DEVICE.type == "cuda" else cpu
