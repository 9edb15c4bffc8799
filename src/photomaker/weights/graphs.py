"""A pass of the UNet as a CUDA graph: launched at once instead of kernel by kernel, in memory of its own.

A graph is recorded for each batch while the UNet is warmed up, and never while a request waits. Which batches are worth
one is measured there: a small batch may be bound by how fast the host launches, a large one is not.
"""

import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from photomaker.weights.kept import keep

WORTH = 0.97  # of the time that a pass takes without a graph
PASSES = 5  # in a row, timed together
TIMES = 5

Inputs = tuple[Tensor, ...]  # latents, timestep, prompt, pooled prompt, sizes
Forward = Callable[..., tuple[Tensor]]
Log = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """A pass of one batch, in milliseconds."""

    plain: float
    graph: float

    @property
    def pays(self) -> bool:
        return self.graph < WORTH * self.plain


class Recording:
    """One batch's graph, and the memory that it reads and writes."""

    def __init__(self, forward: Forward, inputs: Inputs, pool: Any) -> None:
        self.inputs = tuple(value.clone() for value in inputs)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what libraries set up at their first call must not be recorded
            call(forward, self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self.output = call(forward, self.inputs)

    def __call__(self, inputs: Inputs) -> Tensor:
        for own, value in zip(self.inputs, inputs, strict=True):
            own.copy_(value)
        self.graph.replay()
        return self.output.clone()  # the next pass writes over it


class Graphs:
    """A UNet's forward: by graph where there is one for the batch, as before where there is none.

    Args:
        forward: What it was before.
        use: "auto": where the graph pays; "on": wherever one was recorded.
    """

    def __init__(self, forward: Forward, use: Literal["auto", "on"]) -> None:
        self.forward = forward
        self.use = use
        self.timings: dict[int, Timing] = {}
        self.recordings: dict[tuple[torch.Size, ...], Recording] = {}
        self.seen: dict[tuple[torch.Size, ...], int] = {}
        self.recording = False
        self.pool: Any = None

    def __call__(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **options: Any
    ) -> tuple[Tensor]:
        added = options["added_cond_kwargs"]
        inputs = (sample, timestep.float(), encoder_hidden_states, added["text_embeds"], added["time_ids"])
        shapes = tuple(value.shape for value in inputs)
        if self.recording:
            self.seen[shapes] = self.seen.get(shapes, 0) + 1
            if self.seen[shapes] == 2:  # the first call compiles
                self.record(shapes, inputs)
        if shapes in self.recordings:
            return (self.recordings[shapes](inputs),)
        return self.forward(sample, timestep, encoder_hidden_states, **options)

    def record(self, shapes: tuple[torch.Size, ...], inputs: Inputs) -> None:
        batch = len(inputs[0])
        if self.use == "auto" and batch in self.timings and not self.timings[batch].pays:
            return
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()  # one for all: no two of them run at once
        recording = Recording(self.forward, inputs, self.pool)
        if batch not in self.timings:
            plain = milliseconds(lambda: call(self.forward, inputs))
            self.timings[batch] = Timing(plain, milliseconds(lambda: recording(inputs)))
        if self.use == "on" or self.timings[batch].pays:
            self.recordings[shapes] = recording


def call(forward: Forward, inputs: Inputs) -> Tensor:
    sample, timestep, prompt, pooled, sizes = inputs
    added = {"text_embeds": pooled, "time_ids": sizes}
    return forward(sample, timestep, encoder_hidden_states=prompt, added_cond_kwargs=added, return_dict=False)[0]


def milliseconds(work: Callable[[], Any]) -> float:
    """What one of several passes in a row takes on the device, waiting for the host's launches included: a median."""
    times: list[float] = []
    for _ in range(TIMES):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        for _ in range(PASSES):
            work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / PASSES)
    return statistics.median(times)


def replayable(unet: nn.Module, use: Literal["auto", "on"]) -> Graphs:
    """The UNet's graphs; made where it has none yet."""
    forward = unet.forward
    if not isinstance(forward, Graphs):
        forward = vars(unet)["forward"] = Graphs(forward, use)
    return forward


@contextmanager
def recorded(graphs: Graphs, kept: Path, log: Log) -> Iterator[None]:
    """Within, passes are recorded and measured; what was measured is kept in a file, and not measured again."""
    with suppress(OSError, ValueError, TypeError):
        known = json.loads(kept.read_text(encoding="utf-8"))
        graphs.timings |= {int(batch): Timing(**timing) for batch, timing in known.items()}
    before = set(graphs.timings)
    graphs.recording = True
    try:
        yield
    finally:
        graphs.recording = False
    for batch, timing in sorted(graphs.timings.items()):
        chosen = "graph" if graphs.use == "on" or timing.pays else "no graph"
        log(f"batch {batch}: a pass takes {timing.plain:.2f} ms, {timing.graph:.2f} as a graph: {chosen}")
    if set(graphs.timings) != before:
        keep(kept, {batch: asdict(timing) for batch, timing in graphs.timings.items()})


def file_of(folder: Path, *measured: Any) -> Path:
    """Where the timings of this card, with this network, these switches and this size, are kept."""
    what = [torch.cuda.get_device_name(), torch.__version__, *map(str, measured)]
    return folder / f"{sha256(json.dumps(what).encode()).hexdigest()[:24]}.json"
