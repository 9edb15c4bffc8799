"""Runners: child processes that each serve the app, one request at a time, and are replaced when they end."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from localfal.environment import LIFELINE
from localfal.exchange import RunnerConnection

POLL_SECONDS = 0.05
STOP_SECONDS = 10.0
MAX_LINE = 8192
MAX_READS = 64
# Before the first one is ready: an app that gives up twice cannot start. One that was killed (for its memory, by hand)
# says less about the app.
GIVEN_UP_STARTS = 2
KILLED_STARTS = 5
MAX_BACKOFF_SECONDS = 30.0

LINE_BREAK = re.compile(rb"\r\n|\n|\r")


class RunnerStartError(Exception):
    """The app does not come up; the text ends with the last lines that it printed."""

    def __init__(self, text: str, *, killed: bool) -> None:
        super().__init__(text)
        self.killed = killed


class Runner:
    """One `fal run --local` process."""

    def __init__(self, number: int, reference: str, environment: dict[str, str], on_line: Callable[[str], None]):
        self.number = number
        self.port, metrics_port = _free_ports(2)
        self.last_lines: deque[str] = deque(maxlen=30)
        self.exited = asyncio.Event()
        self.doomed = False
        self.worked = False
        self.request_log: Callable[[str], None] | None = None
        self._on_line = on_line
        self._rest = b""
        self._stopping: asyncio.Task[None] | None = None
        self._output, output = os.pipe()
        lifeline, self._lifeline = os.pipe()
        os.set_blocking(self._output, False)
        try:
            # A session of its own: Ctrl-C reaches the gateway, which then stops its runners in order.
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own module
                [sys.executable, "-m", "localfal.fal_run", reference, str(self.port), str(metrics_port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment, LIFELINE: str(lifeline), "PYTHONUNBUFFERED": "1"},
                pass_fds=[lifeline],
                start_new_session=True,
            )
        except OSError:
            os.close(self._output)
            os.close(self._lifeline)
            raise
        finally:
            os.close(output)
            os.close(lifeline)
        self.connection = RunnerConnection(self.port)
        # For the calls that go beside the request in progress.
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)
        asyncio.get_running_loop().add_reader(self._output, self.read_output)
        self._watch = asyncio.create_task(self._wait_for_exit())

    @property
    def pid(self) -> int:
        """The process, for whoever wants to see it."""
        return self._process.pid

    async def ready(self) -> None:
        """Return when `setup()` is over and the app answers; raise RunnerStartError when the process ends first."""
        while not self.exited.is_set():
            with contextlib.suppress(httpx.TransportError):
                if (await self.client.get("/health", timeout=5.0)).status_code == 200:
                    return
            await asyncio.sleep(POLL_SECONDS)
        code = self._process.returncode
        text = "\n".join([f"runner {self.number} ended with exit code {code}", *self.last_lines])
        raise RunnerStartError(text, killed=code < 0)

    def read_output(self) -> None:
        """Take in everything that the runner has printed so far.

        Called when there is something, and at both ends of a request: what the app prints before it answers is in
        the pipe before the answer is, so every line finds the request that it belongs to.
        """
        for _ in range(MAX_READS):  # an app that prints without end does not stop the gateway
            try:
                chunk = os.read(self._output, 65536)
            except (BlockingIOError, OSError):
                return
            if not chunk:
                with contextlib.suppress(RuntimeError):
                    asyncio.get_running_loop().remove_reader(self._output)
                return
            *lines, self._rest = LINE_BREAK.split(self._rest + chunk)
            if len(self._rest) > MAX_LINE:
                lines.append(self._rest)
                self._rest = b""
            for line in lines:
                self._take(line)

    def _take_all(self) -> None:
        """Read what there is; a line that the app has not ended by now is nobody else's."""
        self.read_output()
        rest, self._rest = self._rest, b""
        self._take(rest)

    def _take(self, raw: bytes) -> None:
        line = raw[:MAX_LINE].decode(errors="replace").rstrip()
        if not line:
            return
        self.last_lines.append(line)
        self._on_line(line)
        if self.request_log is not None:
            self.request_log(line)

    def begin(self, log: Callable[[str], None] | None) -> None:
        """From now on the lines belong to a request."""
        self._take_all()
        self.worked = True
        self.request_log = log

    def end(self) -> None:
        """The request is over: the lines up to here were its."""
        self._take_all()
        self.request_log = None

    def kill(self) -> None:
        """End the process and its children, at once."""
        self.doomed = True
        if self.exited.is_set():
            return  # its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the process to end (`teardown()` runs), and insist after a while."""
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self.exited.wait()
            except TimeoutError:
                self.kill()
        await self._watch

    async def _wait_for_exit(self) -> None:
        # A thread of its own: the loop's pool has fewer than there may be runners, and resolves webhooks' hosts too.
        thread = ThreadPoolExecutor(1)
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._process.wait)
        except asyncio.CancelledError:
            self.kill()  # the loop ends before anybody has stopped us; waiting for the thread would last forever
            raise
        finally:
            thread.shutdown(wait=False)
        self.kill()  # whatever the app left running
        self._take_all()
        self.exited.set()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._output)
        os.close(self._output)
        os.close(self._lifeline)
        self._output = self._lifeline = -1  # the numbers may soon belong to other files
        self.connection.close()
        await self.client.aclose()


class Fleet:
    """Keeps a number of runners alive and tells when one is ready or gone."""

    def __init__(
        self,
        reference: str,
        count: int,
        environment: dict[str, str],
        *,
        on_ready: Callable[[Runner], None],
        on_gone: Callable[[Runner], None],
        on_line: Callable[[int, str], None],
    ) -> None:
        self._reference = reference
        self._count = count
        self._environment = environment
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._on_line = on_line
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.runners: dict[int, Runner] = {}

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
            except RunnerStartError as error:
                failures += 1
                if not self._ready.is_set() and failures >= (KILLED_STARTS if error.killed else GIVEN_UP_STARTS):
                    raise
            else:
                self._ready.set()
                self._on_ready(runner)
                await runner.exited.wait()
                self._on_gone(runner)
                # Lost at work (each request may take only so many along) or after a long life: replaced at once.
                lived = time.monotonic() - started
                failures = 0 if runner.worked or lived > MAX_BACKOFF_SECONDS else failures + 1
            if failures:
                await asyncio.sleep(min(MAX_BACKOFF_SECONDS, 0.25 * 2.0 ** min(failures, 10)))

    def _launch(self, number: int) -> Runner:
        try:
            runner = Runner(number, self._reference, self._environment, lambda line: self._on_line(number, line))
        except OSError as error:  # no memory, no process or no file left just now
            raise RunnerStartError(f"runner {number} cannot be started: {error}", killed=False) from None
        self.runners[number] = runner
        return runner


async def _first(event: Coroutine[Any, Any, Any], *tasks: asyncio.Task[None]) -> None:
    """Wait for the event, or for a task to fail."""
    waiting = asyncio.ensure_future(event)
    try:
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waiting.cancel()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now; a runner that still loses one to somebody else is started anew."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports
