"""What runners print outside of any one request: kept in a bounded file, and shown where somebody watches."""

import logging
import re
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from rich.console import Console

MAX_BYTES = 5 * 1024 * 1024
MAX_ECHO = 400
# What each start and stop prints, whatever the app: in the file, not before people's eyes.
ROUTINE = re.compile(
    r"INFO: +(Started server process|Waiting for application|Application (startup|shutdown) complete|Uvicorn running on"
    r"|Shutting down|Finished server process)"
    r"|\[debug\] Python packages installed:|Warning: `fal run` ignores fal\.App auth"
)


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """The disk is full: a lost line is not worth a traceback."""


class RunnerLog:
    """The lines of all runners."""

    def __init__(self, path: Path, echo: Console | None, *, several: bool = False) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.last = ""
        self._several = several
        self._echo = echo
        self._file = _File(path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8")
        self._file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def add(self, app_id: str, number: int, line: str) -> None:
        """Take a line of a runner."""
        routine = ROUTINE.match(line) is not None
        if not routine:
            self.last = line
        text = f"[{app_id} {number}] {line}" if self._several else f"[runner {number}] {line}"
        self._file.handle(logging.makeLogRecord({"msg": text, "levelno": logging.INFO, "levelname": "INFO"}))
        if self._echo is not None and not routine:
            self._echo.print(text[:MAX_ECHO], markup=False, soft_wrap=True)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()
