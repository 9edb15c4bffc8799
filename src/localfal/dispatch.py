"""Who runs next: brings waiting requests and free runners together."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain, repeat
from typing import Any

import httpx

from localfal.errors import InternalError, PlatformError, RunnerAnswerTooLargeError, RunnerLostError, StartTimeoutError
from localfal.jobs import Answer, Job
from localfal.queue import MAX_ATTEMPTS, Queue
from localfal.runners import Runner
from localfal.state import STORE_AGAIN_SECONDS, until_stored

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 128 * 1024 * 1024
CANCEL_SECONDS = 10.0
CANCEL_AGAIN = (0.2, 0.5, 1.0, 2.0, 4.0)
# fal replaces a runner that answers one of these, and tries the request again on another.
REPLACE_STATUSES = (503, 504)
NOT_PASSED_ON = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding", "upgrade", "vary"}
)


class Dispatcher:
    """Hands every runner one request at a time: callers on `fal.run` first, then the queue in its order."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._idle: deque[Runner] = deque()
        self._callers: deque[asyncio.Future[Runner]] = deque()
        self._working: dict[str, tuple[Runner, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def runner_ready(self, runner: Runner) -> None:
        """A runner can take a request."""
        self._idle.append(runner)
        self.pump()

    def runner_gone(self, runner: Runner) -> None:
        """A runner ended."""
        with contextlib.suppress(ValueError):
            self._idle.remove(runner)

    def pump(self, *, late: bool = False) -> None:
        """Give every free runner something to do, if there is something; first answer those that are too `late`."""
        try:
            if late:
                self._queue.time_out()
            self._hand_out()
            deadline = self._queue.next_deadline()
        except sqlite3.OperationalError as error:
            log.warning("the queue cannot be written: %s", error)
            deadline = time.time() + STORE_AGAIN_SECONDS
        self._wake_at(deadline)

    async def stop(self) -> None:
        """Let go of everything; what was in progress is run again at the next start."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def lease(self, start_timeout: float | None) -> AsyncIterator[Runner]:
        """A runner for one direct call, within the caller's time to start; raises StartTimeoutError."""
        waiting: asyncio.Future[Runner] = asyncio.get_running_loop().create_future()
        self._callers.append(waiting)
        self.pump()
        try:
            async with asyncio.timeout(start_timeout):
                runner = await waiting
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiting.done() and not waiting.cancelled():  # in the same turn
                self._release(waiting.result())
            if isinstance(error, TimeoutError):
                raise StartTimeoutError from None
            raise
        runner.begin(None)
        try:
            yield runner
        finally:
            runner.end()
            self._release(runner)

    def cancel(self, request_id: str) -> None:
        """Tell the app that the caller no longer wants the request it works on."""
        working = self._working.get(request_id)
        if working is not None:
            runner, path = working
            self._spawn(send_cancel(runner, path, request_id, lambda: request_id in self._working))

    def _hand_out(self) -> None:
        while self._idle:
            caller = self._next_caller()
            if caller is not None:
                caller.set_result(self._idle.popleft())
                continue
            job = self._queue.start_next()
            if job is None:
                return
            self._spawn(self._process(self._idle.popleft(), job))

    def _next_caller(self) -> asyncio.Future[Runner] | None:
        while self._callers:
            caller = self._callers.popleft()
            if not caller.done():
                return caller
        return None

    def _release(self, runner: Runner) -> None:
        if not runner.doomed:
            self._idle.append(runner)
        self.pump()

    async def _process(self, runner: Runner, job: Job) -> None:
        self._working[job.id] = (runner, job.path)
        runner.begin(lambda line: self._queue.add_log(job.id, line))
        replace = again = False
        try:
            answer = await send_job(runner, job)
            replace = again = answer.status in REPLACE_STATUSES
        except RunnerLostError as error:
            answer = Answer.from_error(error)
            replace = again = True
        except PlatformError as error:
            answer = Answer.from_error(error)
        except Exception:
            # One request must not hold up all others, now and after every restart.
            log.exception("request %s", job.id)
            answer = Answer.from_error(InternalError())
            replace = True
        finally:
            del self._working[job.id]
            runner.end()
        if again and job.attempt < MAX_ATTEMPTS and not job.no_retry:
            await until_stored(lambda: self._queue.requeue(job.id))
        else:
            await until_stored(lambda: self._queue.complete(job.id, answer))
        if replace:
            runner.kill()
            self.pump()
        else:
            self._release(runner)

    def _wake_at(self, deadline: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0.0, deadline - time.time())
            self._timer = asyncio.get_running_loop().call_later(delay, partial(self.pump, late=True))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def send_job(runner: Runner, job: Job) -> Answer:
    """Run a queued request to its end."""
    headers = {**job.headers, "x-fal-request-id": job.id}
    body = bytearray()
    async with runner.connection.send("POST", job.path, headers, job.body) as response:
        async for chunk in response.chunks:
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise RunnerAnswerTooLargeError(f"The app's answer is above {MAX_ANSWER_BYTES} bytes")
    return Answer(response.status, passed_on(response.headers), bytes(body))


async def send_cancel(runner: Runner, path: str, request_id: str, working: Callable[[], bool] = lambda: True) -> None:
    """Call the endpoint's own `/cancel`; an app without one works on to its end, as on fal.

    Called again while the request is still worked on: the first call may overtake the request itself, and reach the
    app before it knows what to cancel.
    """
    for pause in chain(CANCEL_AGAIN, repeat(CANCEL_AGAIN[-1])):
        if runner.exited.is_set():
            return
        try:
            response = await runner.client.post(
                path.partition("?")[0].rstrip("/") + "/cancel",
                headers={"x-fal-request-id": request_id},
                timeout=CANCEL_SECONDS,
            )
            if response.status_code >= 400:
                return
        except httpx.TimeoutException:
            pass  # a busy runner; it still has to hear of it
        except httpx.HTTPError:
            return
        await asyncio.sleep(pause)
        if not working():
            return


def passed_on(headers: dict[str, str]) -> dict[str, str]:
    """The app's response headers that are the caller's business."""
    return {name: value for name, value in headers.items() if name.lower() not in NOT_PASSED_ON}
