"""What a runner prints, read by its gateway: lines, each with its level and the exchange that it belongs to."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from localfal.labelled_output import MARK

Level = Literal["DEBUG", "INFO", "WARN", "ERROR", "STDERR"]

MAX_LINE = 8192
MAX_READS = 64
LINE_BREAK = re.compile(rb"\r\n|\n|\r")
# As Python's logging, uvicorn and most others begin a line, or name the level in brackets or between dashes.
NAMED_LEVEL = re.compile(r"^\W*(?:[\d:.,TZ+ -]*\W)?(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
LEVELS: dict[str, Level] = {"WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR"}
LEVELS |= {level: level for level in ("DEBUG", "INFO", "WARN", "ERROR")}  # type: ignore[misc]


# The frames of a traceback, also as fal prints them: in JSON.
FRAME = re.compile(r'(File \\?")[^"\\]*/([^"/\\]+\\?")')


@dataclass(frozen=True)
class Line:
    """A printed line; `exchange` is empty where nobody knows which request it was for."""

    text: str
    level: Level
    exchange: str = ""


class RunnerOutput:
    """The two pipes of a runner; `stdout` and `stderr` are the ends that its process gets."""

    def __init__(self, on_line: Callable[[Line], None], on_message: Callable[[str, str], None]) -> None:
        self._on_line = on_line
        self._on_message = on_message
        self._ends: dict[int, bytes] = {}
        self._out, self.stdout = os.pipe()
        self._err, self.stderr = os.pipe()
        for end in (self._out, self._err):
            os.set_blocking(end, False)
            self._ends[end] = b""

    def started(self) -> None:
        """The process has its ends: from here on it alone holds them."""
        self.close_child_ends()
        for end in self._ends:
            asyncio.get_running_loop().add_reader(end, self._read_one, end)

    def close_child_ends(self) -> None:
        """Close what only the process needs."""
        os.close(self.stdout)
        os.close(self.stderr)

    def read(self) -> None:
        """Take in everything that the runner has printed so far.

        Called when there is something, and at both ends of a request: what the app prints before it answers is in
        the pipe before the answer is, so every line finds the request that it belongs to.
        """
        for end in list(self._ends):
            self._read_one(end)

    def close(self) -> None:
        """Read what is left, and close."""
        self.read()
        for end, rest in self._ends.items():
            self._take(rest, end)
            asyncio.get_running_loop().remove_reader(end)
            os.close(end)
        self._ends.clear()

    def _read_one(self, end: int) -> None:
        for _ in range(MAX_READS):  # an app that prints without end does not stop the gateway
            try:
                chunk = os.read(end, 65536)
            except OSError:  # nothing more for now
                return
            if not chunk:
                with contextlib.suppress(RuntimeError):
                    asyncio.get_running_loop().remove_reader(end)
                return
            *lines, rest = LINE_BREAK.split(self._ends[end] + chunk)
            if len(rest) > MAX_LINE + 100:
                lines.append(rest)
                rest = b""
            self._ends[end] = rest
            for line in lines:
                self._take(line, end)

    def _take(self, raw: bytes, end: int) -> None:
        text = raw[: MAX_LINE + 100].decode(errors="replace").rstrip()
        if text.startswith(MARK + "="):
            kind, _, content = text[2:].partition(" ")
            self._on_message(kind, content)
            return
        stream, exchange = "e" if end == self._err else "o", ""
        if text.startswith(MARK):
            label, _, text = text[1:].partition(MARK)
            stream, exchange = label[:1], label[1:]
        if text:
            self._on_line(Line(text[:MAX_LINE], _level(text, stream), exchange))


def _level(text: str, stream: str) -> Level:
    named = NAMED_LEVEL.match(text[:200]) if stream == "e" else None
    if named:
        return LEVELS[named[1]]
    return "STDERR" if stream == "e" else "INFO"


def without_paths(text: str) -> str:
    """A line for the caller, who is told the files of a traceback and not where this machine keeps them."""
    return FRAME.sub(r"\1\2", text)


def options_in(content: str) -> dict[str, Any]:
    """The options that a runner has reported."""
    options = json.loads(content)
    return options if isinstance(options, dict) else {}
