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

from localfal import outcome as outcomes
from localfal.errors import (
    InternalError,
    PlatformError,
    RequestTimeoutError,
    RunnerAnswerTooLargeError,
    StartTimeoutError,
)
from localfal.fleet import follow_up
from localfal.jobs import Answer, Job
from localfal.outcome import Outcome
from localfal.queue import Queue
from localfal.runner import Exchange, Runner
from localfal.runner_output import Line
from localfal.state import STORE_AGAIN_SECONDS, until_stored

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 128 * 1024 * 1024
CANCEL_SECONDS = 10.0
CANCEL_AGAIN = (0.2, 0.5, 1.0, 2.0, 4.0)


class _Caller:
    """A direct caller in line."""

    def __init__(self, hint: str | None) -> None:
        self.hint = hint
        self.turn: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()


class Dispatcher:
    """Hands every runner as many requests as it takes: callers on `fal.run` first, then the queue in its order."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._runners: deque[Runner] = deque()
        self._callers: deque[_Caller] = deque()
        self._working: dict[str, tuple[Exchange, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def runner_ready(self, runner: Runner) -> None:
        """A runner can take requests."""
        self._runners.append(runner)
        self.pump()

    def runner_gone(self, runner: Runner) -> None:
        """A runner ended."""
        with contextlib.suppress(ValueError):
            self._runners.remove(runner)

    def pump(self, *, late: bool = False) -> None:
        """Give every free runner something to do, if there is something; first answer those that are too `late`."""
        self._serve_callers()  # who need nothing of the disk, which may be full
        try:
            if late:
                self._queue.time_out()
            self._start_jobs()
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
    async def lease(self, start_timeout: float | None, hint: str | None = None) -> AsyncIterator[Exchange]:
        """A runner's turn for one direct call, within the caller's time to start; raises StartTimeoutError."""
        caller = _Caller(hint)
        self._callers.append(caller)
        self.pump()
        try:
            async with asyncio.timeout(start_timeout):
                exchange = await caller.turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if caller.turn.done() and not caller.turn.cancelled():  # in the same turn
                self._release(caller.turn.result())
            with contextlib.suppress(ValueError):  # it has been called up already
                self._callers.remove(caller)
            if isinstance(error, TimeoutError):
                raise StartTimeoutError from None
            raise
        try:
            yield exchange
        finally:
            self._release(exchange)

    def cancel(self, request_id: str) -> None:
        """Tell the app that the caller no longer wants the request it works on."""
        working = self._working.get(request_id)
        if working is not None:
            exchange, path = working
            self._spawn(send_cancel(exchange.runner, path, request_id, lambda: request_id in self._working))

    def _serve_callers(self) -> None:
        while self._callers and any(runner.free for runner in self._runners):
            caller = self._callers.popleft()
            if not caller.turn.done():
                caller.turn.set_result(self._choose(caller.hint).begin(None))

    def _start_jobs(self) -> None:
        while any(runner.free for runner in self._runners):
            job = self._queue.start_next()
            if job is None:
                return
            log_line: Callable[[Line], None] = partial(self._queue.add_log, job.id)
            exchange = self._choose(job.hint).begin(log_line)
            # At once: a caller may cancel what is in progress before the task below has its first turn.
            self._working[job.id] = (exchange, job.path)
            self._spawn(self._process(exchange, job))

    def _choose(self, hint: str | None) -> Runner:
        """The runner for a request: one that offers its hint, else the one with the least to do, the longest idle."""
        free = [runner for runner in self._runners if runner.free]
        runner = min(free, key=lambda runner: (hint is None or hint not in runner.hints, len(runner.exchanges)))
        self._runners.remove(runner)
        self._runners.append(runner)
        return runner

    def _release(self, exchange: Exchange) -> None:
        exchange.runner.end(exchange)
        self.pump()

    async def _process(self, exchange: Exchange, job: Job) -> None:
        runner = exchange.runner
        try:
            answer, outcome = await _answered(exchange, job)
        finally:
            del self._working[job.id]
            runner.end(exchange)
        # A result may have to wait for room on the disk; the runner need not.
        self._serve_callers()
        if outcomes.tried_again(job, outcome, runner.options):
            await until_stored(lambda: self._queue.requeue(job.id, outcome.condition))
        else:
            await until_stored(lambda: self._queue.complete(job.id, answer))
        self.pump()

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


@asynccontextmanager
async def request_timeout(runner: Runner) -> AsyncIterator[None]:
    """The app's time for one request, which ends with its connection; its runner may be stuck, and shall end."""
    try:
        async with asyncio.timeout(runner.options.request_timeout):
            yield
    except TimeoutError:
        raise RequestTimeoutError from None


async def _answered(exchange: Exchange, job: Job) -> tuple[Answer, Outcome]:
    """Run a queued request to its end, whatever that is; its runner is then good for the next one, or doomed."""
    try:
        try:
            async with request_timeout(exchange.runner):
                answer, outcome = await _send(exchange, job)
        except PlatformError as error:
            answer, outcome = Answer.from_error(error), outcomes.of_error(error)
        await follow_up(exchange.runner, outcome)
    except Exception:
        # One request must not hold up all others, now and after every restart.
        log.exception("request %s", job.id)
        exchange.runner.kill()
        return Answer.from_error(InternalError()), Outcome()
    return answer, outcome


async def _send(exchange: Exchange, job: Job) -> tuple[Answer, Outcome]:
    headers = {**job.headers, "x-fal-request-id": job.id}
    body = bytearray()
    async with exchange.send("POST", job.path, headers, job.body) as response:
        async for chunk in response.chunks:
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise RunnerAnswerTooLargeError(f"The app's answer is above {MAX_ANSWER_BYTES} bytes")
    kept = outcomes.passed_on(response.status, response.headers)
    return Answer(response.status, kept, bytes(body)), outcomes.of_answer(response.status, response.headers)


async def send_cancel(runner: Runner, path: str, request_id: str, working: Callable[[], bool] = lambda: True) -> None:
    """Call the endpoint's own `/cancel`; an app without one works on to its end, as on fal.

    Called again while the request is still worked on: the first call may overtake the request itself, and reach the
    app before it knows what to cancel, or be lost with a connection that the runner is just closing.
    """
    for pause in chain(CANCEL_AGAIN, repeat(CANCEL_AGAIN[-1])):
        if runner.exited.is_set():
            return
        try:
            cancel = path.partition("?")[0].rstrip("/") + "/cancel"
            response = await runner.request("POST", cancel, {"x-fal-request-id": request_id}, seconds=CANCEL_SECONDS)
            if response.is_client_error and response.status_code != 429:  # it has no such endpoint
                return
        except httpx.HTTPError:
            pass  # a busy runner; it still has to hear of it
        await asyncio.sleep(pause)
        if not working():
            return
