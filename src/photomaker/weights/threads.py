"""How many threads PyTorch computes with on processor cores."""

import os
from collections.abc import Iterable

import torch
from torch import nn

from photomaker.cores import usable_cores

SMALL = 100_000_000  # parameters; below it a layer is done before several threads have met


def use_free_cores(networks: Iterable[nn.Module]) -> int:
    """Threads for networks on a CPU: one for small ones, else one a usable core; returns how many.

    PyTorch's own number is the machine's cores, whatever share of them a container has. The environment's
    OMP_NUM_THREADS goes before.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        sizes = (sum(weight.numel() for weight in network.parameters()) for network in networks)
        torch.set_num_threads(1 if max(sizes, default=0) < SMALL else usable_cores())
    return torch.get_num_threads()
