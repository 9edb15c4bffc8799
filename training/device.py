"""Where networks train: on the GPU if there is one, else on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision() -> AbstractContextManager[object]:
    """Autocast to bfloat16 on that device."""
    return torch.autocast(DEVICE.type, torch.bfloat16)


def per_step(*, cpu: int, gpu: int) -> int:
    """How many pictures a step takes: few for a CPU, and so many that a GPU is kept busy."""
    return gpu if DEVICE.type == "cuda" else cpu
