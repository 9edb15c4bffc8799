"""The durable queue: every accepted request, its state, its logs and its result, in SQLite."""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from localfal.errors import ERROR_TYPE_HEADER, ClientCancelledError, StartTimeoutError
from localfal.jobs import Answer, Entry, Job, State, Submission

MAX_ATTEMPTS = 10
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
        """Accept a request: from here on it is not lost."""
        request_id, now = str(uuid.uuid4()), time.time()
        timeout = submission.start_timeout
        self.database.execute(
            "INSERT INTO requests (id, app, path, headers, body, state, priority, start_by, no_retry, store_io,"
            " webhook, created) VALUES (?, ?, ?, ?, ?, 'IN_QUEUE', ?, ?, ?, ?, ?, ?)",
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
            "SELECT seq, state, priority, started, finished, error, error_type FROM requests WHERE id = ? AND app = ?",
            (request_id, self.app),
        ).fetchone()
        if row is None:
            return None
        done = row["finished"] is not None and row["started"] is not None
        return Entry(
            id=request_id,
            seq=row["seq"],
            priority=row["priority"],
            state=row["state"],
            inference_time=row["finished"] - row["started"] if done else None,
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
                "SELECT id, path, headers, body, attempts, no_retry, start_by FROM requests"
                " WHERE app = ? AND state = 'IN_QUEUE' ORDER BY priority, seq LIMIT 1",
                (self.app,),
            ).fetchone()
            if row is None:
                return None
            now = time.time()
            if row["start_by"] is not None and row["start_by"] <= now:
                self.complete(row["id"], Answer.from_error(StartTimeoutError()))
                continue
            self.database.execute(
                "UPDATE requests SET state = 'IN_PROGRESS', started = ?, attempts = attempts + 1 WHERE id = ?",
                (now, row["id"]),
            )
            self._changed()
            return Job(
                id=row["id"],
                path=row["path"],
                headers=json.loads(row["headers"]),
                body=row["body"],
                attempt=row["attempts"] + 1,
                no_retry=bool(row["no_retry"]),
            )

    def requeue(self, request_id: str) -> None:
        """Put a request back to where it stood: ahead of everything that came after it."""
        if self.cancelled(request_id):
            self.complete(request_id, Answer.from_error(ClientCancelledError()))
            return
        self.database.execute(
            "UPDATE requests SET state = 'IN_QUEUE', started = NULL WHERE id = ? AND state = 'IN_PROGRESS'",
            (request_id,),
        )
        self._changed()

    def complete(self, request_id: str, answer: Answer) -> None:
        """Store a request's answer, once; its webhook becomes due in the same change."""
        if answer.status == CLIENT_CLOSED:
            answer = replace(answer, headers={ERROR_TYPE_HEADER: "client_cancelled", **answer.headers})
        error, error_type = answer.failure()
        now = time.time()
        self.database.execute(
            "UPDATE requests SET state = 'COMPLETED', finished = :now, status = :status, result_headers = :headers,"
            " result = :body, error = :error, error_type = :error_type,"
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
                "id": request_id,
            },
        )
        self._log_lines.pop(request_id, None)
        self._changed()

    def answer(self, request_id: str) -> Answer | None:
        """A completed request's answer."""
        row = self.database.execute(
            "SELECT status, result_headers, result FROM requests WHERE id = ? AND state = 'COMPLETED'",
            (request_id,),
        ).fetchone()
        return Answer(row["status"], json.loads(row["result_headers"]), row["result"]) if row else None

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

    def add_log(self, request_id: str, message: str) -> None:
        """Append a line that the runner printed while it worked on a request."""
        lines = self._log_lines.get(request_id, 0)
        if lines >= MAX_LOG_LINES:
            return
        self._log_lines[request_id] = lines + 1
        timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        with suppress(sqlite3.OperationalError):  # the disk is full: a lost line is no reason to lose the request
            self.database.execute(
                "INSERT INTO logs (request_id, timestamp, message) VALUES (?, ?, ?)",
                (request_id, timestamp, message),
            )
            self._changed()

    def logs(self, request_id: str, after: int = 0) -> tuple[list[dict[str, str]], int]:
        """A request's log lines beyond the mark `after`, oldest first, and the new mark."""
        rows = self.database.execute(
            "SELECT seq, timestamp, message FROM logs WHERE request_id = ? AND seq > ? ORDER BY seq",
            (request_id, after),
        ).fetchall()
        lines = [
            {
                "message": row["message"],
                "level": "INFO",
                "source": "USER",
                "timestamp": row["timestamp"],
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
