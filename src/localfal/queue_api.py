"""`queue.fal.run`'s endpoints: submit, status, its stream, result, cancel."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from localfal.dispatch import Dispatcher
from localfal.errors import BadRequestError, MethodNotAllowedError, NotFoundError, QueueFullError
from localfal.jobs import Entry, Submission
from localfal.queue import Queue

PING_SECONDS = 10.0
MAX_WEBHOOK_URL = 2048
LENGTH = re.compile(r"[0-9]{1,18}")


class QueueApi:
    """Answers for the queue of one app."""

    def __init__(self, queue: Queue, dispatcher: Dispatcher) -> None:
        self._queue = queue
        self._dispatcher = dispatcher
        self._changed = asyncio.Event()
        queue.on_change.append(self._wake_streams)

    def submit(self, request: Request, submission: Submission, url: str) -> Response:
        """`POST …`: accept a request; `url` is the app's own under the host that the caller used."""
        longest = request.query_params.get("fal_max_queue_length")
        if longest is not None:
            if not LENGTH.fullmatch(longest):
                raise BadRequestError("fal_max_queue_length is not a whole number")
            if self._queue.length() > int(longest):
                raise QueueFullError(f"More than {longest} requests are waiting")
        entry = self._queue.submit(submission)
        urls = _urls(entry.id, url)
        answer = {
            "status": "IN_QUEUE",
            **urls,
            "gateway_request_id": entry.id,
            "queue_position": self._queue.position(entry),
        }
        self._dispatcher.pump()
        return JSONResponse(answer, headers={"x-fal-request-id": entry.id})

    async def about(self, request: Request, request_id: str, action: str, url: str) -> Response:
        """`…/requests/{id}[/status[/stream]|/response|/cancel]`."""
        allowed = "PUT" if action == "cancel" else "GET"
        if request.method not in (allowed, "HEAD" if allowed == "GET" else allowed):
            raise MethodNotAllowedError(allowed)
        headers = {"x-fal-request-id": request_id}
        if action == "cancel":
            return self._cancel(request_id, headers)
        entry = self._queue.find(request_id)
        if entry is None:
            raise NotFoundError("Request not found")
        with_logs = request.query_params.get("logs", "").lower() in ("1", "true")
        if action == "status":
            content, _ = self._status(entry, url, with_logs)
            return JSONResponse(content, 200 if entry.state == "COMPLETED" else 202, headers)
        if action == "status/stream":
            headers["cache-control"] = "no-cache"
            return StreamingResponse(
                self._stream(request_id, url, with_logs), headers=headers, media_type="text/event-stream"
            )
        answer = self._queue.answer(request_id)
        if answer is None:
            raise BadRequestError("Request is still in progress", headers=headers)
        return Response(answer.body, answer.status, {**answer.headers, **headers})

    def _cancel(self, request_id: str, headers: dict[str, str]) -> Response:
        state = self._queue.cancel(request_id)
        if state is None:
            return JSONResponse({"status": "NOT_FOUND"}, 404, headers)
        if state == "COMPLETED":
            return JSONResponse({"status": "ALREADY_COMPLETED"}, 400, headers)
        if state == "IN_PROGRESS":
            self._dispatcher.cancel(request_id)
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202, headers)

    def _status(self, entry: Entry, url: str, with_logs: bool, after: int = 0) -> tuple[dict[str, Any], int]:
        content: dict[str, Any] = {"status": entry.state, **_urls(entry.id, url)}
        if entry.state == "IN_QUEUE":
            content["queue_position"] = self._queue.position(entry)
            return content, after
        # Both clients read `logs` even when they did not ask for them.
        content["logs"] = None
        if with_logs:
            content["logs"], after = self._queue.logs(entry.id, after)
        if entry.state == "COMPLETED":
            content["metrics"] = {}
            if entry.inference_time is not None:
                content["metrics"]["inference_time"] = entry.inference_time
            if entry.error is not None:
                content["error"] = entry.error
            if entry.error_type is not None:
                content["error_type"] = entry.error_type
        return content, after

    async def _stream(self, request_id: str, url: str, with_logs: bool) -> AsyncIterator[str]:
        """Every change of the status, once; a client adds up the logs, so each event brings only the new lines."""
        sent: dict[str, Any] | None = None
        after = 0
        while True:
            changed = self._changed
            entry = self._queue.find(request_id)
            if entry is None:
                return
            content, after = self._status(entry, url, with_logs, after)
            plain = {**content, "logs": None}
            if content.get("logs") or plain != sent:
                sent = plain
                yield f"data: {json.dumps(content)}\n\n"
            if entry.state == "COMPLETED":
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_SECONDS):
                    await changed.wait()
                continue
            yield ": still here\n\n"

    def _wake_streams(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def webhook_url(request: Request) -> str | None:
    """The caller's `fal_webhook`, checked."""
    url = request.query_params.get("fal_webhook")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and len(url) <= MAX_WEBHOOK_URL
        usable = usable and parts.port != 0  # raises ValueError beyond 65535
    except ValueError:
        usable = False
    if not usable:
        raise BadRequestError("fal_webhook is not an http or https URL")
    return url


def _urls(request_id: str, url: str) -> dict[str, str]:
    base = f"{url}/requests/{request_id}"
    return {
        "request_id": request_id,
        "response_url": base,
        "status_url": base + "/status",
        "cancel_url": base + "/cancel",
    }
