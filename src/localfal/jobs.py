"""A request on its way: as it was submitted, as a runner gets it, as its status shows it, as it was answered."""

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from localfal.errors import ERROR_TYPE_HEADER, PlatformError

HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]*")  # Latin-1 without control characters
STATUSES = range(200, 600)
FRAMING = ("content-length", "transfer-encoding")  # which the answer's own body decides

State = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]


@dataclass(frozen=True)
class Call:
    """What a caller sent: the app's own path ("/" or deeper), the headers for the app, how long to wait for a runner
    (seconds), and which one would be best."""

    path: str
    headers: dict[str, str]
    body: bytes
    start_timeout: float | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Submission(Call):
    """A call for the queue, and how to treat it."""

    low_priority: bool = False
    no_retry: bool = False
    store_io: bool = True
    webhook: str | None = None
    retry_config: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A request on its way to a runner."""

    id: str
    path: str
    headers: dict[str, str]
    body: bytes
    attempt: int
    no_retry: bool
    hint: str | None = None
    retry_config: Mapping[str, int] = field(default_factory=dict)
    retries: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def stored(cls, row: sqlite3.Row) -> "Job":
        """A request out of the database; raises ValueError or TypeError when its row makes no sense."""
        path = row["path"]
        if not (isinstance(path, str) and path.isascii() and path.startswith("/")):
            raise ValueError("not a path")
        return cls(
            id=row["id"],
            path=path,
            headers=headers_in(row["headers"]),
            body=_bytes(row["body"]),
            attempt=row["attempts"] + 1,
            no_retry=bool(row["no_retry"]),
            hint=row["hint"],
            retry_config=_numbers(row["retry_config"]),
            retries=_numbers(row["retries"]),
        )


@dataclass(frozen=True)
class Answer:
    """What the caller gets in the end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def from_error(cls, error: PlatformError) -> "Answer":
        """The answer that says what the platform has to say."""
        headers = {"content-type": "application/json", **error.all_headers()}
        return cls(error.status, headers, json.dumps(error.body()).encode())

    @classmethod
    def stored(cls, row: sqlite3.Row) -> "Answer":
        """An answer out of the database; raises ValueError or TypeError when its row makes no sense."""
        if row["status"] not in STATUSES:
            raise ValueError("not a status")
        headers = headers_in(row["result_headers"])
        kept = {name: value for name, value in headers.items() if name.lower() not in FRAMING}
        return cls(row["status"], kept, _bytes(row["result"]))

    def failure(self) -> tuple[str | None, str | None]:
        """The `error` and `error_type` that a status shows for this answer; None, None for a success."""
        if self.status < 400:
            return None, None
        error: Any = None
        error_type: Any = self.headers.get(ERROR_TYPE_HEADER)
        try:
            content = json.loads(self.body)
            error = content["detail"]
            error_type = error_type or content.get("error_type")
            if isinstance(error, list):
                error_type = error_type or error[0]["type"]
                error = error[0]["msg"]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            pass
        return (
            _storable(error) if isinstance(error, str) and error else f"Invalid status code: {self.status}",
            _storable(error_type) if isinstance(error_type, str) else None,
        )


def headers_in(text: str) -> dict[str, str]:
    """Stored headers; raises ValueError for what could not be sent as such."""
    content = json.loads(text)
    if not isinstance(content, dict) or not all(
        isinstance(value, str) and HEADER_NAME.fullmatch(name) and HEADER_VALUE.fullmatch(value)
        for name, value in content.items()
    ):
        raise ValueError("not headers")
    return content


def _numbers(text: str) -> dict[str, int]:
    content = json.loads(text)
    if not isinstance(content, dict) or not all(type(value) is int for value in content.values()):
        raise ValueError("not an object of whole numbers")
    return content


def _bytes(content: object) -> bytes:
    if not isinstance(content, bytes):
        raise TypeError("not bytes")
    return content


def _storable(text: str) -> str:
    """JSON may have halves of surrogate pairs; neither a database nor UTF-8 has."""
    return text.encode(errors="replace").decode()


@dataclass(frozen=True)
class Entry:
    """A request as its status shows it."""

    id: str
    seq: int
    priority: int
    state: State
    inference_time: float | None
    error: str | None
    error_type: str | None
