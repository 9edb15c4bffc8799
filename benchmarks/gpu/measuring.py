"""Times, and rows of results: printed as they come, and kept in a file, so that a limit costs only what is left."""

import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Values = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One stage of a benchmark.

    Attributes:
        out: Where results go.
        work: Where weights and caches are made and found again.
        small: The tests' small checkpoint instead of full size.
        deadline: In the seconds of time.time().
    """

    stage: str
    out: Path
    work: Path
    small: bool
    repeat: int
    deadline: float

    def row(self, name: str, /, **values: Any) -> None:
        """A result: numbers by what they count, with the unit in the name ("seconds", "milliseconds", ...)."""
        print(
            f"| {self.stage} | {name} | {', '.join(f'{key} {shown(value)}' for key, value in values.items())} |",
            flush=True,
        )
        with (self.out / "rows.jsonl").open("a") as file:
            file.write(json.dumps({"stage": self.stage, "name": name, "values": values}) + "\n")

    @contextmanager
    def part(self, name: str, *, needs: float = 0.0) -> Iterator[bool]:
        """A part that fails without taking the others along; False where too few seconds are left for it."""
        if self.deadline - time.time() < needs:
            self.row(name, left_out=f"{self.deadline - time.time():.0f} s left")
            yield False
            return
        try:
            yield True
        except Exception as error:
            self.row(name, failed=f"{type(error).__name__}: {str(error)[:300]}")
            traceback.print_exc()


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def card() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"no GPU: a CPU with {os.cpu_count()} cores"


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds until the device is done, and until the host had launched everything."""
    synchronize()
    start = time.perf_counter()
    work()
    launched = time.perf_counter() - start
    synchronize()
    return time.perf_counter() - start, launched


def median(work: Callable[[], Any], repeat: int, warm: int = 1) -> float:
    """Seconds, after runs that are not counted."""
    for _ in range(warm):
        work()
    return statistics.median(timed(work)[0] for _ in range(repeat))


def peak_gib() -> float | None:
    """Of the device's memory since :func:`forget_peak`; None without a GPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None


def allocated_gib() -> float:
    """Of the device's memory, now."""
    return torch.cuda.memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def rows(out: Path) -> list[Values]:
    """All results so far."""
    path = out / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
