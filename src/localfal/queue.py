"""The durable queue: every accepted request, its state, its logs and its result, in SQLite."""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from localfal.errors import (
    ERROR_TYPE_HEADER,
    BadRequestError,
    ClientCancelledError,
    InternalError,
    NotFoundError,
    StartTimeoutError,
    StorageFullError,
)
from localfal.jobs import Answer, Entry, Job, State, Submission
from localfal.runner_output import Line, without_paths
from localfal.state import has_room

CLIENT_CLOSED = 499
MAX_LOG_LINES = 10_000
# fal keeps the result of a request sent with X-Fal-Store-IO: 0 for about an hour, so that it can be fetched.
UNSTORED_RESULT_SECONDS = 3600.0


@dataclass
class Queue:
    """The requests for one app, in the order in which they run.

    All calls are short and made from the gateway's one event loop. `on_change` is called after every change of a
    state or a log.
    """

    database: sqlite3.Connection
    app: str
    on_change: list[Callable[[], None]] = field(default_factory=list)
    _log_lines: dict[str, int] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)

    def recover(self) -> None:
        """Put back what a stopped or killed gateway was working on; such a stop is no failed attempt."""
        running = "SELECT id FROM requests WHERE app = ? AND state = 'IN_PROGRESS' AND cancelled"
        for row in self.database.execute(running, (self.app,)).fetchall():
            self.complete(row["id"], Answer.from_error(ClientCancelledError()))
        self.database.execute(
            "UPDATE requests SET state = 'IN_QUEUE', started = NULL, attempts = attempts - 1"
            " WHERE app = ? AND state = 'IN_PROGRESS'",
            (self.app,),
        )

    def submit(self, submission: Submission) -> Entry:
        """Accept a request: from here on it is not lost. Raises StorageFullError."""
        if not has_room(self.database, len(submission.body)):
            raise StorageFullError("The queue and its results have reached their bound; delete some, or send it later")
        request_id, now = str(uuid.uuid4()), time.time()
        timeout = submission.start_timeout
        self.database.execute(
            "INSERT INTO requests (id, app, path, headers, body, state, priority, start_by, no_retry, store_io,"
            " webhook, created, hint, retry_config) VALUES (?, ?, ?, ?, ?, 'IN_QUEUE', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                request_id,
                self.app,
                submission.path,
                json.dumps(submission.headers),
                submission.body,
                int(submission.low_priority),
                None if timeout is None else now + timeout,
                submission.no_retry,
                submission.store_io,
                submission.webhook,
                now,
                submission.hint,
                json.dumps(dict(submission.retry_config)),
            ),
        )
        self._changed()
        entry = self.find(request_id)
        if entry is None:
            raise RuntimeError("a request that was just stored cannot be read")
        return entry

    def find(self, request_id: str) -> Entry | None:
        """A request's status."""
        row = self.database.execute(
            "SELECT seq, state, priority, inference_time, error, error_type FROM requests WHERE id = ? AND app = ?",
            (request_id, self.app),
        ).fetchone()
        if row is None:
            return None
        return Entry(
            id=request_id,
            seq=row["seq"],
            priority=row["priority"],
            state=row["state"],
            inference_time=row["inference_time"],
            error=row["error"],
            error_type=row["error_type"],
        )

    def position(self, entry: Entry) -> int:
        """How many requests run before a waiting one."""
        (ahead,) = self.database.execute(
            "SELECT COUNT(*) FROM requests WHERE app = ? AND state = 'IN_QUEUE' AND (priority, seq) < (?, ?)",
            (self.app, entry.priority, entry.seq),
        ).fetchone()
        return int(ahead)

    def length(self) -> int:
        """How many requests wait."""
        waiting = "SELECT COUNT(*) FROM requests WHERE app = ? AND state = 'IN_QUEUE'"
        return int(self.database.execute(waiting, (self.app,)).fetchone()[0])

    def start_next(self) -> Job | None:
        """Take the first waiting request out for a runner; those that waited too long are answered instead."""
        while True:
            row = self.database.execute(
                "SELECT id, path, headers, body, attempts, no_retry, CAST(start_by AS REAL) AS start_by, hint,"
                " retry_config, retries"
                " FROM requests WHERE app = ? AND state = 'IN_QUEUE' ORDER BY priority, seq LIMIT 1",
                (self.app,),
            ).fetchone()
            if row is None:
                return None
            now = time.time()
            if row["start_by"] is not None and row["start_by"] <= now:
                self.complete(row["id"], Answer.from_error(StartTimeoutError()))
                continue
            try:
                job = Job.stored(row)
            except (ValueError, TypeError):  # written by somebody else, or damaged
                self.complete(row["id"], Answer.from_error(InternalError("The stored request cannot be read")))
                continue
            self.database.execute(
                "UPDATE requests SET state = 'IN_PROGRESS', started = ?, attempts = attempts + 1 WHERE id = ?",
                (now, row["id"]),
            )
            self._begun[row["id"]] = time.monotonic()
            self._changed()
            return job

    def requeue(self, request_id: str, condition: str | None = None) -> None:
        """Put a request back to where it stood: ahead of everything that came after it.

        The `condition` under which it is tried again has its own count.
        """
        if self.cancelled(request_id):
            self.complete(request_id, Answer.from_error(ClientCancelledError()))
            return
        self.database.execute(
            "UPDATE requests SET state = 'IN_QUEUE', started = NULL,"
            " retries = json_set(retries, :path, coalesce(json_extract(retries, :path), 0) + 1)"
            " WHERE id = :id AND state = 'IN_PROGRESS'",
            {"id": request_id, "path": f"$.{condition or 'forced'}"},
        )
        self._changed()

    def complete(self, request_id: str, answer: Answer) -> None:
        """Store a request's answer, once; its webhook becomes due in the same change."""
        if answer.status == CLIENT_CLOSED:
            answer = replace(answer, headers={ERROR_TYPE_HEADER: "client_cancelled", **answer.headers})
        error, error_type = answer.failure()
        # Not by the wall clock, which may be set meanwhile.
        now, begun = time.time(), self._begun.get(request_id)
        self.database.execute(
            "UPDATE requests SET state = 'COMPLETED', finished = :now, status = :status, result_headers = :headers,"
            " result = :body, error = :error, error_type = :error_type, inference_time = :inference_time,"
            " body = CASE WHEN store_io THEN body END,"
            " webhook_due = CASE WHEN webhook IS NOT NULL THEN :now END"
            " WHERE id = :id AND state != 'COMPLETED'",
            {
                "now": now,
                "status": answer.status,
                "headers": json.dumps(answer.headers),
                "body": answer.body,
                "error": error,
                "error_type": error_type,
                "inference_time": None if begun is None else time.monotonic() - begun,
                "id": request_id,
            },
        )
        self._log_lines.pop(request_id, None)
        self._begun.pop(request_id, None)
        self._changed()

    def answer(self, request_id: str) -> Answer | None:
        """A completed request's answer."""
        row = self.database.execute(
            "SELECT status, result_headers, result FROM requests WHERE id = ? AND state = 'COMPLETED'",
            (request_id,),
        ).fetchone()
        if row is None:
            return None
        try:
            return Answer.stored(row)
        except (ValueError, TypeError):
            return Answer.from_error(InternalError("The stored result cannot be read"))

    def delete_payloads(self, request_id: str) -> bytes | None:
        """Delete a finished request's input and result; returns the result, None for no request of this app."""
        entry = self.find(request_id)
        if entry is None:
            return None
        answer = self.answer(request_id)
        if answer is None:
            raise BadRequestError("Request is still in progress")
        gone = Answer.from_error(NotFoundError("The payloads of this request were deleted"))
        self.database.execute(
            "UPDATE requests SET body = NULL, status = ?, result_headers = ?, result = ? WHERE id = ?",
            (gone.status, json.dumps(gone.headers), gone.body, request_id),
        )
        return answer.body

    def cancel(self, request_id: str) -> State | None:
        """Cancel a request: at once while it waits, else by remembering that somebody asked. Returns what it was in."""
        entry = self.find(request_id)
        if entry is None:
            return None
        if entry.state == "IN_QUEUE":
            self.complete(request_id, Answer.from_error(ClientCancelledError()))
        elif entry.state == "IN_PROGRESS":
            self.database.execute("UPDATE requests SET cancelled = 1 WHERE id = ?", (request_id,))
        return entry.state

    def cancelled(self, request_id: str) -> bool:
        """Whether a request in progress has been asked to stop."""
        row = self.database.execute("SELECT cancelled FROM requests WHERE id = ?", (request_id,)).fetchone()
        return bool(row and row["cancelled"])

    def next_deadline(self) -> float | None:
        """The earliest moment at which a waiting request runs out of its time to start."""
        row = self.database.execute(
            "SELECT MIN(start_by) AS first FROM requests WHERE app = ? AND state = 'IN_QUEUE'", (self.app,)
        ).fetchone()
        return None if row["first"] is None else float(row["first"])

    def time_out(self) -> None:
        """Answer the waiting requests whose time to start is over."""
        late = "SELECT id FROM requests WHERE app = ? AND state = 'IN_QUEUE' AND start_by <= ?"
        for row in self.database.execute(late, (self.app, time.time())).fetchall():
            self.complete(row["id"], Answer.from_error(StartTimeoutError()))

    def add_log(self, request_id: str, line: Line) -> None:
        """Append a line that the runner printed while it worked on a request."""
        lines = self._log_lines.get(request_id, 0)
        if lines >= MAX_LOG_LINES:
            return
        self._log_lines[request_id] = lines + 1
        timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        with suppress(sqlite3.OperationalError):  # the disk is full: a lost line is no reason to lose the request
            self.database.execute(
                "INSERT INTO logs (request_id, timestamp, message, level) VALUES (?, ?, ?, ?)",
                (request_id, timestamp, without_paths(line.text), line.level),
            )
            self._changed()

    def logs(self, request_id: str, after: int = 0) -> tuple[list[dict[str, Any]], int]:
        """A request's log lines beyond the mark `after`, oldest first, and the new mark."""
        rows = self.database.execute(
            "SELECT seq, timestamp, message, level FROM logs WHERE request_id = ? AND seq > ? ORDER BY seq",
            (request_id, after),
        ).fetchall()
        lines = [
            {
                "message": row["message"],
                "level": row["level"],
                "source": "USER",
                "timestamp": row["timestamp"],
                "labels": {"fal_app_name": self.app, "fal_request_id": request_id},
            }
            for row in rows
        ]
        return lines, (rows[-1]["seq"] if rows else after)

    def forget(self, keep: float) -> None:
        """Remove what was finished more than `keep` seconds ago, and unstored results after their hour."""
        now = time.time()
        self.database.execute(
            "DELETE FROM requests WHERE webhook_due IS NULL AND (finished <= ? OR (NOT store_io AND finished <= ?))",
            (now - keep, now - UNSTORED_RESULT_SECONDS),
        )
        self.database.execute("DELETE FROM logs WHERE request_id NOT IN (SELECT id FROM requests)")

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()
