"""A stand-in for a CUDA device, for machines without one.

Its tensors say that they are on ``cuda:0``, hold real numbers in the host's memory, and follow CUDA's rules:

- An operation on tensors of both devices is refused (MixedDevicesError), but for what CUDA lets pass: scalars in
  pointwise operations, copies, index tensors from the host.
- What makes the host wait (item(), bool(), nonzero(), masks as indices, copies off and onto the device) is counted,
  with the place in the code: ``Device.waits``.
- A graph (torch.cuda.CUDAGraph) records what runs on the device, refuses whatever waits, and replays it in the same
  memory.

Not simulated: speed, memory, streams, kernels' own limits, and numerics other than the CPU's.
"""

import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from flashpack import parallel_read
from flashpack.deserialization import FlashTensorStorage, read_flashpack_file
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
CUDA = torch.device("cuda:0")
NAME = "a stand-in"
COPIES = (aten.copy_, aten._to_copy, aten.to)
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index)
SCALARS = (aten.where, aten.masked_fill, aten.masked_fill_, aten.lerp, aten.fill, aten.fill_)
WAITING = (
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten.is_nonzero,
    aten._unique2,
    aten.unique_consecutive,
    aten.allclose,
)
LIBRARY = (f"{Path(torch.__file__).parent}/", __file__)


class MixedDevicesError(RuntimeError):
    """What CUDA says as "Expected all tensors to be on the same device"."""


class DeviceTensor(torch.Tensor):
    """A tensor on the stand-in; ``host`` has its numbers."""

    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> "DeviceTensor":
        assert host.device.type == "cpu"
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device="meta",  # what torch's own code sees: it needs no driver, and may be built without CUDA
            requires_grad=False,
        )
        tensor.host = host
        return tensor

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return STATE.run(func, args, kwargs or {})


class Mode(TorchDispatchMode):
    """Sends this thread's operations, the making of tensors among them, to the stand-in."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return STATE.run(func, args, kwargs or {})


class Calls(TorchFunctionMode):
    """What torch's own code would settle by asking a driver, before it becomes operations."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tuple(map(numbered, args)), {key: numbered(value) for key, value in (kwargs or {}).items()}
        if func is scaled_dot_product_attention and isinstance(args[0], DeviceTensor):
            return STATE.run(aten.scaled_dot_product_attention.default, args, kwargs)  # whichever kernel it would be
        if func is torch.Tensor.__getitem__ and isinstance(args[0], DeviceTensor):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(place, list | torch.Tensor) and not isinstance(place, DeviceTensor) for place in places):
                assert len(places) == 1, "a list or the host's tensor among other indices"
                return STATE.run(aten.index.Tensor, (args[0], [torch.as_tensor(places[0])]), {})
        return func(*args, **kwargs)


def numbered(value: Any) -> Any:
    return CUDA if isinstance(value, str | torch.device) and str(value) == "cuda" else value


class Device:
    """The stand-in itself.

    Attributes:
        waits: How often the host waited, by operation and place, while ``counting``.
        recording: The graph that is being recorded.
    """

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.counting = False
        self.recording: Graph | None = None

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func is aten._has_compatible_shallow_copy_type.default:
            return False
        flat = leaves((args, kwargs))
        ours = [value for value in flat if isinstance(value, DeviceTensor)]
        hosts = [v for v in flat if isinstance(v, torch.Tensor) and not isinstance(v, DeviceTensor) and on_host(v)]
        target = target_of(func, args, kwargs, flat)
        if ours and hosts:
            self.check(func, args, hosts)
        if reason := wait_of(func, args, ours, target):
            self.wait(reason)

        ghosts = ("cuda", "meta") if ours else ("cuda",)

        def to_host(value: Any) -> Any:
            if isinstance(value, DeviceTensor):
                return value.host
            return torch.device("cpu") if isinstance(value, torch.device) and value.type in ghosts else value

        host_args, host_kwargs = mapped(to_host, args), mapped(to_host, kwargs)
        host_kwargs.pop("pin_memory", None)
        with torch._C._DisableTorchDispatch():
            result = func(*host_args, **host_kwargs)
            if self.recording is not None and ours:
                self.recording.note(func, host_args, host_kwargs, result)
        if func.overloadpacket is aten._local_scalar_dense:
            return result
        stays = isinstance(args[0], DeviceTensor) if func.overloadpacket is aten.copy_ else bool(ours)
        if not (stays if target is None or target.type == "meta" else target.type == "cuda"):
            return result
        known = {id(tensor.host): tensor for tensor in ours}  # operations in place return what they were given

        def wrapped(value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or isinstance(value, DeviceTensor):
                return value
            return known[id(value)] if id(value) in known else DeviceTensor(value)

        return mapped(wrapped, result)

    def check(self, func: Any, args: Any, hosts: list[torch.Tensor]) -> None:
        """Refuse what CUDA refuses."""
        packet = func.overloadpacket
        scalars = all(tensor.dim() == 0 for tensor in hosts)
        allowed = (
            packet in COPIES
            or (scalars and (torch.Tag.pointwise in func.tags or packet in SCALARS))
            or (packet in INDEXING and isinstance(args[0], DeviceTensor))
            or (packet is aten.cat and all(tensor.numel() == 0 for tensor in hosts))
        )
        if not allowed:
            shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in hosts]
            raise MixedDevicesError(f"{func}: on the device and on the host {shapes}")
        if packet in INDEXING:
            self.wait("an index from the host")

    def wait(self, reason: str) -> None:
        if self.recording is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {reason}")
        if self.counting:
            self.waits[f"{reason} at {place()}"] += 1


class Graph:
    """torch.cuda.CUDAGraph: what ran on the device while it was recorded, to be run again in the same memory."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[torch.Tensor]]] = []

    def note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        inputs = {t.untyped_storage()._cdata for t in leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        made = [t for t in leaves(result) if isinstance(t, torch.Tensor)]
        fresh = [t for t in made if t.untyped_storage()._cdata not in inputs]
        if fresh or func._schema.is_mutable:  # a view is where it was
            self.operations.append((func, args, kwargs, fresh))

    def replay(self) -> None:
        with torch._C._DisableTorchDispatch():
            for func, args, kwargs, memory in self.operations:
                result = [t for t in leaves(func(*args, **kwargs)) if isinstance(t, torch.Tensor)]
                for old, new in zip(memory, result, strict=False):
                    old.copy_(new)


@contextmanager
def recorded(graph: Graph, **_: Any) -> Iterator[None]:
    """torch.cuda.graph: what runs inside is recorded."""
    STATE.recording = graph
    try:
        yield
    finally:
        STATE.recording = None


class Stream:
    """torch.cuda.Stream: there is one."""

    def wait_stream(self, other: "Stream") -> None:
        pass


class Event:
    """torch.cuda.Event, on a device where everything takes a millisecond."""

    def __init__(self, **_: Any) -> None:
        pass

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: "Event") -> float:
        return 1.0


def leaves(value: Any) -> list[Any]:
    """What is in an operation's arguments or results. Torch's own way through trees takes longer than operations."""
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [value]


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """The same with every leaf changed."""
    if isinstance(value, tuple | list):
        made = [mapped(change, item) for item in value]
        return made if isinstance(value, list) else tuple(made)
    if isinstance(value, dict):
        return {key: mapped(change, item) for key, item in value.items()}
    return change(value)


def on_host(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu"


def target_of(func: Any, args: Any, kwargs: dict[str, Any], flat: list[Any]) -> torch.device | None:
    """The device that an operation's result is asked to be on."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    if func.overloadpacket in COPIES[1:] and len(args) > 1 and isinstance(args[1], torch.Tensor):
        return args[1].device
    return next((value for value in flat if isinstance(value, torch.device)), None)


def wait_of(func: Any, args: Any, ours: list[DeviceTensor], target: torch.device | None) -> str | None:
    """Why the host waits in an operation; None: it does not."""
    packet = func.overloadpacket
    if packet in WAITING and ours:
        return str(packet)
    if packet in INDEXING and ours:
        indices = [index for index in args[1] if isinstance(index, torch.Tensor)]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return "a mask as index"
    if packet is aten.copy_ and isinstance(args[0], DeviceTensor) != isinstance(args[1], DeviceTensor):
        return "a copy between the devices"
    if packet in COPIES[1:] and target is not None and (target.type != "cpu") != isinstance(args[0], DeviceTensor):
        return "a copy between the devices"
    return None


def place() -> str:
    """Where outside of torch an operation was asked for."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(LIBRARY):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return "?"


class NoGradient:
    """torch.inference_mode, in which wrapped tensors cannot be made, as no_grad."""

    def __init__(self, mode: bool) -> None:
        self.context = torch.no_grad()

    def __enter__(self) -> None:
        self.context.__enter__()

    def __exit__(self, *details: Any) -> None:
        self.context.__exit__(*details)


def read_onto_device(path: str, device: torch.device, **options: Any) -> Any:
    """FlashPack's reader with its way of leaving things behind, its CUDA streams and pinned memory simulated."""
    with torch._C._DisableTorchDispatch():
        storage, metadata = read_flashpack_file(path, "cpu", **options)
        blocks = [block.clone() for block in storage.blocks]
        parallel_read._PINNED_POOL[(1, 4096)] = [[torch.empty(4096, dtype=torch.uint8)]]
    return FlashTensorStorage([DeviceTensor(block) for block in blocks]), metadata


STATE = Device()


@contextmanager
def stand_in() -> Iterator[Device]:
    """Within, this process has a CUDA device, in all threads that are started within."""
    global STATE
    STATE = Device()
    run: Callable[[threading.Thread], None] = threading.Thread.run

    def run_on_device(thread: threading.Thread) -> None:
        with Mode(), Calls():
            run(thread)

    with ExitStack() as stack:
        for target, value in {
            "threading.Thread.run": run_on_device,
            "torch.cuda._lazy_init": lambda: None,
            "torch.cuda.is_available": lambda: True,
            "torch.cuda.device_count": lambda: 1,
            "torch.cuda.current_device": lambda: 0,
            "torch.cuda.get_device_name": lambda *_: NAME,
            "torch.cuda.get_device_capability": lambda *_: (9, 0),
            "torch.cuda.synchronize": lambda *_: None,
            "torch.cuda.empty_cache": lambda: None,
            "torch.cuda.CUDAGraph": Graph,
            "torch.cuda.graph": recorded,
            "torch.cuda.graph_pool_handle": lambda: (0, 1),
            "torch.cuda.Event": Event,
            "torch.cuda.Stream": Stream,
            "torch.cuda.stream": nullcontext,
            "torch.cuda.current_stream": Stream,
            "torch._C._InferenceMode": NoGradient,
            "photomaker.weights.packed.read_flashpack_file": read_onto_device,
        }.items():
            stack.enter_context(patch(target, value))
        swapped = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapped)
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        stack.enter_context(Mode())
        stack.enter_context(Calls())
        yield STATE
