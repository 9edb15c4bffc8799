"""An app's runners: kept at their number, looked at now and then, and replaced when they end."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import httpx

from localfal.app_options import AppOptions
from localfal.outcome import Outcome
from localfal.runner import Runner, RunnerStartError
from localfal.runner_output import Line

# Before the first one is ready: an app that gives up twice cannot start. One that was killed (for its memory, by hand)
# says less about the app.
GIVEN_UP_STARTS = 2
KILLED_STARTS = 5
MAX_BACKOFF_SECONDS = 30.0
HEALTH_EVERY_SECONDS = 15.0


class Fleet:
    """Keeps a number of runners alive and tells when one is ready or gone."""

    def __init__(
        self,
        reference: str,
        count: int,
        environment: Mapping[str, str],
        sockets: Path,
        *,
        on_ready: Callable[[Runner], None],
        on_gone: Callable[[Runner], None],
        on_line: Callable[[int, Line], None],
    ) -> None:
        self._reference = reference
        self._count = count
        self._environment = environment
        self._sockets = sockets
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._on_line = on_line
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.runners: dict[int, Runner] = {}
        self.options = AppOptions()
        self.openapi: dict[str, Any] | None = None

    async def start(self) -> None:
        """Start all runners and return when the first is ready; raise RunnerStartError when the app cannot start."""
        self._tasks = [asyncio.create_task(self._keep(number)) for number in range(1, self._count + 1)]
        await _first(self._ready.wait(), *self._tasks)

    async def stop(self) -> None:
        """Stop all runners."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(runner.stop() for runner in self.runners.values()))

    async def _keep(self, number: int) -> None:
        failures = 0
        while True:
            started = time.monotonic()
            try:
                runner = self._launch(number)
                await runner.ready()
                # Now, while it is free: a busy runner may answer only after its request.
                self.openapi = await runner.openapi()
            except RunnerStartError as error:
                failures += 1
                if not self._ready.is_set() and failures >= (KILLED_STARTS if error.killed else GIVEN_UP_STARTS):
                    raise
            else:
                self.options = runner.options
                self._ready.set()
                self._on_ready(runner)
                checks = asyncio.create_task(keep_checking(runner))
                try:
                    await runner.exited.wait()
                finally:
                    checks.cancel()
                self._on_gone(runner)
                # Lost at work (each request may take only so many along) or after a long life: replaced at once.
                lived = time.monotonic() - started
                failures = 0 if runner.worked or lived > MAX_BACKOFF_SECONDS else failures + 1
            if failures:
                await asyncio.sleep(min(MAX_BACKOFF_SECONDS, 0.25 * 2.0 ** min(failures, 10)))

    def _launch(self, number: int) -> Runner:
        try:
            runner = Runner(
                number, self._reference, self._environment, self._sockets, lambda line: self._on_line(number, line)
            )
        except OSError as error:  # no memory, no process or no file left just now
            raise RunnerStartError(f"runner {number} cannot be started: {error}", killed=False) from None
        self.runners[number] = runner
        return runner


async def keep_checking(runner: Runner) -> None:
    """Call the app's health check now and then, and end a runner that has failed it often enough in a row."""
    health = runner.options.health
    if health is None or not health.regularly:
        return
    failures = 0
    while True:
        await asyncio.sleep(HEALTH_EVERY_SECONDS)
        counts = runner.age > health.start_period
        failures = 0 if await healthy(runner) or not counts else failures + 1
        if failures >= health.failures:
            runner.kill()
            return


async def healthy(runner: Runner) -> bool:
    """Whether the app's health check, if it has one, answers as it should."""
    health = runner.options.health
    if health is None:
        return True
    try:
        response = await runner.request(health.method, health.path, seconds=health.timeout)
    except httpx.HTTPError:
        return False
    return response.status_code < 400


async def follow_up(runner: Runner, outcome: Outcome) -> None:
    """Do with a runner what follows from an answer of its; it is doomed, or good for the next request."""
    if outcome.hints is not None:
        runner.hints = outcome.hints
    if outcome.stop_runner:
        runner.kill()
        return
    if outcome.shut_down:
        runner.shut_down()
        return
    gone = (outcome.doubtful and not await runner.connections.reachable()) or (
        outcome.lost and not await runner.answers()
    )
    if gone or (outcome.check_health and not await healthy(runner)):
        runner.kill()


async def _first(event: Coroutine[Any, Any, Any], *tasks: asyncio.Task[None]) -> None:
    """Wait for the event, or for a task to fail."""
    waiting = asyncio.ensure_future(event)
    try:
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waiting.cancel()
