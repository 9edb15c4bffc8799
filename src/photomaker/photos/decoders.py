"""Processes that decode strangers' pictures (decoding.py), kept warm, and ended when a picture goes beyond its limits.

A decoder is code of half a dozen C libraries, and what a file makes it do is not to be foretold from the file. So it
runs where the system can stop it: memory and processor time are the kernel's business, the clock and the caller's
cancellation this side's, with SIGKILL. Pixels come back through memory that both processes map.
"""

import atexit
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import cache
from typing import Any

from PIL import Image

from photomaker.cores import usable_cores
from photomaker.errors import OwnFault
from photomaker.photos.decoding import MEMORY_EXIT, MIB, Limits, Refusal

MAX_FILE_BYTES = 100 * MIB  # one picture's file; 200 megapixels as phones write them have some 60
MAX_SIDE = 4096  # pixels of what comes back
MOST = 4  # processes
LIMITS = Limits()
WAKE_SECONDS = 0.1  # how often one that waits looks for a cancellation
PICTURES = 500  # that a process decodes before a new one takes its place: what C libraries leak stays small
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG")  # no keys, no tokens
# glibc keeps the pages of one picture for the next: a quarter of a photo's time goes to fresh ones otherwise.
KEPT_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(32 * MIB), "MALLOC_TRIM_THRESHOLD_": str(64 * MIB)}

Check = Callable[[], None]
"""Asked while waiting; what it raises ends the wait, and the decoding with it."""


class Undecodable(Exception):  # noqa: N818 - a verdict
    """There are no pixels.

    Attributes:
        refusal: Why.
        width, height: Of the picture in the file, where ``refusal`` is about them.
    """

    def __init__(self, refusal: Refusal, cause: str, width: int = 0, height: int = 0) -> None:
        super().__init__(cause)
        self.refusal = refusal
        self.width = width
        self.height = height


class Decoder:
    """One process.

    Args:
        limits: What one picture may cost.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.decoded = 0
        with _memory_file(max(MAX_FILE_BYTES, 3 * MAX_SIDE**2)) as memory, ExitStack() as undone:
            self._memory = undone.enter_context(mmap.mmap(memory, 0))
            self._channel, theirs = socket.socketpair()
            undone.enter_context(self._channel)
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
                    [
                        *(sys.executable, "-P", "-m", "photomaker.photos.decoding"),
                        *(str(theirs.fileno()), str(memory), json.dumps(asdict(limits))),
                    ],
                    env=_environment(),
                    pass_fds=(theirs.fileno(), memory),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # what C libraries have to say about a stranger's file
                    stderr=subprocess.DEVNULL,
                )
            undone.pop_all()
        self._received = b""

    def decode(self, data: bytes, max_side: int, check: Check, large_turn: threading.Lock) -> Image.Image:
        """The picture; RGB.

        Raises:
            Undecodable: The process may be used again where it refused, but not where it ended.
            OwnFault: The process does not work.
            Exception: What ``check`` raised; the process is still at work.
        """
        self.decoded += 1
        self._memory[: len(data)] = data
        deadline = time.monotonic() + self.limits.seconds
        self._send({"size": len(data), "max_side": max_side})
        answer = self._answer(deadline, check)
        if "large" in answer:
            with turn(large_turn, check):
                deadline = time.monotonic() + self.limits.seconds
                self._send({})
                answer = self._answer(deadline, check)
        if "failed" in answer:
            raise OwnFault(f"the decoding process: {answer['failed']}")
        if "refused" in answer:
            size = answer.get("width", 0), answer.get("height", 0)
            raise Undecodable(Refusal(answer["refused"]), answer["cause"], *size)
        with memoryview(self._memory) as memory:
            size = answer["width"], answer["height"]
            return Image.frombytes("RGB", size, memory[: 3 * size[0] * size[1]])

    @property
    def ended(self) -> bool:
        """Whether there is no process any more."""
        return self._process.poll() is not None

    def end(self) -> int:
        """Its exit status; killed if it is still there."""
        self._process.kill()
        status = self._process.wait()
        self._channel.close()
        self._memory.close()
        return status

    def _send(self, message: dict[str, int]) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode("ascii") + b"\n")
        except OSError:
            raise self._ended() from None

    def _answer(self, deadline: float, check: Check) -> dict[str, Any]:
        self._channel.settimeout(WAKE_SECONDS)
        while b"\n" not in self._received:
            try:
                piece = self._channel.recv(4096)
            except TimeoutError:
                check()
                if time.monotonic() > deadline:
                    raise Undecodable(Refusal.TIME, f"longer than {self.limits.seconds} s") from None
                continue
            except OSError:
                piece = b""
            if not piece:
                raise self._ended()
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> Undecodable | OwnFault:
        status = self._process.wait()
        if status == -signal.SIGXCPU:
            return Undecodable(Refusal.TIME, f"more than {self.limits.processor_seconds} s of processor time")
        if status == MEMORY_EXIT:
            return Undecodable(Refusal.MEMORY, f"more than {self.limits.memory} bytes")
        if status >= 0:
            return OwnFault(f"the decoding process ended with status {status}")
        if status == -signal.SIGKILL:
            return Undecodable(Refusal.KILLED, "the decoding process was killed")
        return Undecodable(Refusal.CRASH, f"the decoder was ended by {signal.Signals(-status).name}")


class Decoders:
    """A few processes that decode, for every request of this one.

    Args:
        count: How many. Default: one a usable core, at most ``MOST``.
        limits: What one picture may cost.
    """

    def __init__(self, count: int | None = None, limits: Limits = LIMITS) -> None:
        self.count = count or min(MOST, usable_cores())
        self.limits = limits
        self._large_turn = threading.Lock()
        self._change = threading.Condition()
        self._idle: list[Decoder] = []
        self._started = 0

    def warm(self) -> None:
        """Start every process that is not there, without waiting until it is ready.

        Raises:
            OwnFault: This machine starts none.
        """
        with self._change:
            while self._started < self.count:
                try:
                    decoder = Decoder(self.limits)
                except OSError as error:
                    raise OwnFault(f"a decoding process cannot be started: {error}") from error
                self._idle.insert(0, decoder)  # a fresh one gets time to be ready
                self._started += 1

    def decode(self, data: bytes, max_side: int, check: Check = lambda: None) -> Image.Image:
        """A picture as RGB, upright, at most ``max_side`` pixels a side; waits for an idle process.

        Args:
            data: At most ``MAX_FILE_BYTES``.
            max_side: At most ``MAX_SIDE``.
            check: Called ten times a second; what it raises ends the decoding at once.

        Raises:
            Undecodable: There is no picture in ``data``, or it takes more than the limits.
            OwnFault: The processes do not work.
        """
        if len(data) > MAX_FILE_BYTES or not 0 < max_side <= MAX_SIDE:
            raise ValueError(f"at most {MAX_FILE_BYTES} bytes, and {MAX_SIDE} pixels of what comes back")
        try:
            return self._decoded_by_one(data, max_side, check)
        except Undecodable as error:
            if error.refusal is not Refusal.KILLED:
                raise
        # By somebody else, a system short of memory first of all: no word against the picture, unless it happens again.
        return self._decoded_by_one(data, max_side, check)

    def _decoded_by_one(self, data: bytes, max_side: int, check: Check) -> Image.Image:
        decoder = self._borrow(check)
        usable = False
        try:
            picture = decoder.decode(data, max_side, check, self._large_turn)
            usable = decoder.decoded < PICTURES
            return picture
        except Undecodable as error:
            usable = error.refusal in (Refusal.TOO_SMALL, Refusal.TOO_LARGE, Refusal.DAMAGED)
            raise
        finally:
            self._give_back(decoder, usable)

    def close(self) -> None:
        """Ends the processes that are idle."""
        with self._change:
            for decoder in self._idle:
                decoder.end()
            self._started -= len(self._idle)
            self._idle.clear()

    def _borrow(self, check: Check) -> Decoder:
        with self._change:
            self._bury()
            while not self._idle:
                try:
                    self.warm()
                except OwnFault:
                    if not self._started:  # nobody will give one back
                        raise
                if not self._idle:
                    self._change.wait(WAKE_SECONDS)
                    check()
            return self._idle.pop()

    def _bury(self) -> None:
        """Forget the processes that ended while they were idle, whoever ended them."""
        for decoder in [decoder for decoder in self._idle if decoder.ended]:
            self._idle.remove(decoder)
            self._started -= 1
            decoder.end()

    def _give_back(self, decoder: Decoder, usable: bool) -> None:
        if not usable:
            decoder.end()
        with self._change:
            if usable:
                self._idle.insert(0, decoder)
            else:
                self._started -= 1
                with suppress(OwnFault):  # the next picture is told
                    self.warm()
            self._change.notify()


@contextmanager
def turn(lock: threading.Lock, check: Check) -> Iterator[None]:
    """The lock, for one who may be called away while waiting for it."""
    while not lock.acquire(timeout=WAKE_SECONDS):
        check()
    try:
        yield
    finally:
        lock.release()


@cache
def decoders() -> Decoders:
    """The processes that this program's requests share."""
    shared = Decoders()
    atexit.register(shared.close)
    return shared


os.register_at_fork(after_in_child=decoders.cache_clear)  # two readers of one process would get each other's photos


@contextmanager
def _memory_file(size: int) -> Iterator[int]:
    """The descriptor of a file of ``size`` bytes that has no name; memory alone where the system has that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("photo")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)


def _environment() -> dict[str, str]:
    """What the process needs to find the same packages, and no more."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**kept, **KEPT_PAGES, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
