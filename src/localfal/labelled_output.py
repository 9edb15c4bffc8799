"""In a runner: every printed line says which stream and which exchange it belongs to.

One runner may serve several requests at once, so that the moment of a line says nothing about its request. What Python
prints goes as records through standard output: `\\x1e`, `o` or `e` for the stream, the exchange, `\\x1e`, the line.
What other code writes to the file descriptors comes as it is.
"""

import io
import os
import re
import sys
import threading
from contextvars import ContextVar
from typing import TextIO

MARK = "\x1e"
# Of the request that a task, or a thread that it waits for, works on.
EXCHANGE: ContextVar[str] = ContextVar("exchange", default="")
MAX_UNENDED = 8192

_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_lock = threading.Lock()


class LabelledOutput(io.TextIOBase):
    """Standard output or standard error, for everything that Python code prints."""

    def __init__(self, stream: TextIO, letter: str, descriptor: int) -> None:
        self._stream = stream
        self._letter = letter
        self._descriptor = descriptor
        self._unended: dict[str, str] = {}

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> object:
        """The bytes' way out, unlabelled."""
        return getattr(self._stream, "buffer", None)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        exchange = EXCHANGE.get()
        with _lock:
            *lines, rest = _LINE_BREAK.split(self._unended.pop(exchange, "") + text)
            if len(rest) > MAX_UNENDED:
                lines.append(rest)
                rest = ""
            if rest:
                self._unended[exchange] = rest
            self._send(exchange, lines)
        return len(text)

    def finish(self, exchange: str) -> None:
        """A line that has not been ended by now is nobody else's."""
        with _lock:
            rest = self._unended.pop(exchange, "")
            self._send(exchange, [rest] if rest else [])

    def _send(self, exchange: str, lines: list[str]) -> None:
        # A record is one line, whatever the app prints.
        records = (f"{MARK}{self._letter}{exchange}{MARK}{line.replace(MARK, ' ')}\n" for line in lines if line.strip())
        write_all(self._descriptor, "".join(records))


def label_output() -> None:
    """From now on, what Python code prints is labelled."""
    descriptor = os.dup(1)
    os.set_inheritable(descriptor, False)
    sys.stdout = LabelledOutput(sys.stdout, "o", descriptor)
    sys.stderr = LabelledOutput(sys.stderr, "e", descriptor)


def finish_lines(exchange: str) -> None:
    """The exchange is about to be over."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, LabelledOutput):
            stream.finish(exchange)


def tell_gateway(kind: str, content: str) -> None:
    """A message of the runner's own, which is no line of the app's."""
    with _lock:
        write_all(1, f"{MARK}={kind} {' '.join(content.splitlines())}\n")


def write_all(descriptor: int, text: str) -> None:
    """Write to a pipe, however little it takes at once."""
    data = memoryview(text.encode(errors="replace"))
    while data:
        data = data[os.write(descriptor, data) :]
