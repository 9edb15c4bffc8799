"""A card that is not there, as compilers see it: its properties are those of a real one, and nothing can run on it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch._inductor.fx_passes import joint_graph
from torch.utils._triton import has_triton

KIB, MIB = 2**10, 2**20


@dataclass(frozen=True)
class Card:
    """What a compiler asks a card for. Figures: CUDA's programming guide, table of compute capabilities.

    Attributes:
        multiprocessors: How many there are.
        shared: The most memory that a block of threads may share, in bytes.
        cache: L2, in bytes.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared: int
    cache: int

    def properties(self) -> SimpleNamespace:
        """As torch.cuda.get_device_properties has them."""
        major, minor = self.capability
        return SimpleNamespace(
            name=self.name,
            major=major,
            minor=minor,
            total_memory=80 * 2**30,
            multi_processor_count=self.multiprocessors,
            regs_per_multiprocessor=65536,
            warp_size=32,
            max_threads_per_multi_processor=2048,
            max_threads_per_block=1024,
            shared_memory_per_block=48 * KIB,
            shared_memory_per_block_optin=self.shared,
            shared_memory_per_multiprocessor=self.shared + KIB,
            L2_cache_size=self.cache,
            gcnArchName="",
            is_integrated=False,
            is_multi_gpu_board=False,
            uuid="made up",
        )


CARDS = {
    "sm_90": Card("NVIDIA H100 80GB HBM3", (9, 0), 132, 227 * KIB, 50 * MIB),
    "sm_80": Card("NVIDIA A100-SXM4-80GB", (8, 0), 108, 163 * KIB, 40 * MIB),
}


def driver(card: Card) -> Any:
    """What Triton takes for the card's driver: it tells the target, and loads nothing."""
    import triton

    major, minor = card.capability
    return SimpleNamespace(
        utils=SimpleNamespace(get_device_properties=lambda _: {"max_shared_mem": card.shared}),
        get_current_target=lambda: triton.backends.compiler.GPUTarget("cuda", 10 * major + minor, 32),
        get_current_device=lambda: 0,
        get_active_torch_device=lambda: torch.device("cuda:0"),
        get_device_interface=lambda: torch.cuda,
    )


@contextmanager
def made_up(card: Card) -> Iterator[None]:
    """Within, this process compiles for the card; only inside of Inductor, for eager CUDA tensors cannot be made."""
    import triton

    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    zero: Callable[..., int] = lambda *_: 0  # noqa: E731
    triton.runtime.driver.set_active(driver(card))
    joint_graph.lazy_init(torch.device("cpu"))  # it traces patterns with tensors of the device, once
    with ExitStack() as stack:
        for target, value in {
            "torch.cuda._lazy_init": nothing,
            "torch.cuda.is_available": lambda: True,
            "torch.cuda.device_count": lambda: 1,
            "torch.cuda.current_device": zero,
            "torch.cuda.set_device": nothing,
            "torch.cuda.synchronize": nothing,
            "torch.cuda.get_device_capability": lambda *_: card.capability,
            "torch.cuda.get_device_name": lambda *_: card.name,
            "torch.cuda.get_device_properties": lambda *_: card.properties(),
            "torch.cuda.get_rng_state": lambda *_: torch.empty(16, dtype=torch.uint8),
            "torch.cuda.set_rng_state": nothing,
            "torch.cuda._exchange_device": zero,
            "torch.cuda._maybe_exchange_device": zero,
            "torch._C._cuda_getCurrentRawStream": zero,  # what a PyTorch without CUDA lacks
            "torch._C._conv_determine_backend_memory_format": layout_of_convolution,
            "torch._dynamo.device_interface.CudaInterface.get_device_properties": lambda *_: card.properties(),
            "torch._dynamo.device_interface.CudaInterface.get_raw_stream": zero,
            "torch._dynamo.device_interface.CudaInterface.exchange_device": zero,
            "torch._dynamo.device_interface.CudaInterface.maybe_exchange_device": zero,
            "torch._dynamo.device_interface.CudaInterface.set_device": nothing,
            "torch._dynamo.device_interface.CudaInterface.synchronize": nothing,
            "torch._inductor.fx_passes.joint_graph.lazy_init": nothing,
            "torch._inductor.runtime.triton_helpers.set_driver_to_gpu": nothing,  # to a real one
            "torch._inductor.runtime.triton_heuristics.CachingAutotuner._make_launchers": no_launchers,
        }.items():
            stack.enter_context(patch(target, value, create=target.startswith("torch._C.")))
        has_triton.cache_clear()  # it may have been asked before
        stack.callback(has_triton.cache_clear)
        yield


def layout_of_convolution(given: torch.Tensor, weight: torch.Tensor, _: Any) -> torch.memory_format:
    """As cuDNN has it: channels-last where its input or its weight is."""
    last = torch.channels_last
    return last if any(one.is_contiguous(memory_format=last) for one in (given, weight)) else torch.contiguous_format


def no_launchers(kernel: Any) -> None:
    """A kernel that is compiled, and cannot be launched."""
    kernel.launchers = [lambda *_, **__: None]
