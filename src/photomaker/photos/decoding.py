"""A process that decodes pictures for another: ``python -m photomaker.photos.decoding CHANNEL MEMORY LIMITS``.

It knows nothing but the picture at hand: no networks, no caller, no secret, and it can write no file. The system
keeps its memory and processor time within bounds, whatever the file makes a decoder do, and whoever waits for the
answer (decoders.py) ends it at any moment.

CHANNEL is a socket with one JSON object a line; MEMORY a file that both sides map. A job is the file's bytes at the
beginning of MEMORY and ``{"size": …, "max_side": …}``; the answer one of

- ``{"width": …, "height": …}``: the pixels are at the beginning of MEMORY, three bytes each;
- ``{"large": true}``: the picture is a large one, the answer follows once the other side has sent a line;
- ``{"refused": …, "cause": …, "width": …, "height": …}``: what :class:`Refusal` lists;
- ``{"failed": …}``: this process does not work, whatever the picture.

LIMITS is a JSON object with the fields of :class:`Limits`.
"""

import json
import math
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

MIB = 1024**2
LOOK_SECONDS = 0.02  # between two looks at the memory, where the system keeps no limit
MEMORY_EXIT = 77  # the status of a process that found itself above its memory


class Refusal(StrEnum):
    """Why there are no pixels."""

    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    DAMAGED = "damaged"
    MEMORY = "memory"
    TIME = "time"
    CRASH = "crash"
    KILLED = "killed"


@dataclass(frozen=True)
class Limits:
    """What one picture may cost.

    Attributes:
        memory: Bytes of the whole process, for most pictures.
        large_memory: The same for a large one, of which there is one at a time.
        processor_seconds: Over all threads.
        seconds: On the clock, the wait for a large one's turn not counted.
    """

    memory: int = 1024 * MIB
    large_memory: int = 2048 * MIB
    processor_seconds: int = 20
    seconds: float = 60.0


class Memory:
    """This process's bound on its memory: the system's where it keeps one, else a watch that ends the process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept = self._kept_by_the_system()
        if not self.kept:
            threading.Thread(target=self._watch, daemon=True).start()

    def allow(self, limit: int) -> None:
        """From now on ``limit`` bytes."""
        self.limit = limit
        if self.kept:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))

    def _kept_by_the_system(self) -> bool:
        """Linux counts what a process may write to, and its kernel refuses more; macOS takes the limit, no more."""
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (self.limit, resource.RLIM_INFINITY))
        try:
            mmap.mmap(-1, self.limit, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON).close()
        except OSError:
            return True
        return False

    def _watch(self) -> None:
        while resident() < self.limit:
            time.sleep(LOOK_SECONDS)
        os._exit(MEMORY_EXIT)


def resident() -> int:
    """Bytes of memory in use; where the system tells no more, the most there ever were."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def confine() -> None:
    """No file written, no core dumped, and the first to go where the machine's memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the process that asked


def serve(channel: socket.socket, shared: mmap.mmap, limits: Limits) -> None:
    """Answers jobs until the other side closes the channel."""
    from photomaker.photos.pixels import SideError, TooSmall, prepare, upright_rgb

    prepare()
    memory = Memory(limits.memory)
    lines = channel.makefile("r", encoding="ascii")

    def say(answer: dict[str, Any]) -> None:
        channel.sendall(json.dumps(answer).encode("ascii") + b"\n")

    def on_large() -> None:
        say({"large": True})
        if not lines.readline():
            sys.exit()
        memory.allow(limits.large_memory)

    for line in lines:
        job = json.loads(line)
        until = math.ceil(time.process_time()) + limits.processor_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
        try:
            pixels = upright_rgb(shared[: job["size"]], job["max_side"], on_large)
            height, width, _ = pixels.shape
            shared[: pixels.nbytes] = pixels.data.cast("B")
            answer: dict[str, Any] = {"width": width, "height": height}
        except SideError as error:
            refused = Refusal.TOO_SMALL if isinstance(error, TooSmall) else Refusal.TOO_LARGE
            answer = {"refused": refused, "cause": str(error), "width": error.width, "height": error.height}
        except MemoryError as error:
            answer = {"refused": Refusal.MEMORY, "cause": repr(error)}
        except Exception as error:  # a decoder on bytes from a stranger raises whatever its parser trips over
            answer = {"refused": Refusal.DAMAGED, "cause": repr(error)[:500]}
        pixels = np.empty((0, 0, 3), np.uint8)  # its memory goes before the limit does
        if memory.limit != limits.memory:
            memory.allow(limits.memory)
        say(answer)


def main(channel: str, memory: str, limits: str) -> None:
    confine()
    with socket.socket(fileno=int(channel)) as connection, mmap.mmap(int(memory), 0) as shared:
        try:
            serve(connection, shared, Limits(**json.loads(limits)))
        except Exception as error:
            connection.sendall(json.dumps({"failed": repr(error)}).encode("ascii") + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
