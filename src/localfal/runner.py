"""A runner: a child process that serves the app, as many requests at once as the app allows."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx

from localfal.app_options import AppOptions
from localfal.environment import LIFELINE, SOCKET
from localfal.exchange import RunnerConnections, RunnerResponse
from localfal.runner_app import EXCHANGE_HEADER, HANG_UP_HEADER
from localfal.runner_output import Line, RunnerOutput, options_in

POLL_SECONDS = 0.05
ASIDE_SECONDS = 5.0
OPENAPI_SECONDS = 30.0
HANG_UP = HANG_UP_HEADER.decode()
KNOWN = 200
# What a runner is told of a caller: a Unix socket knows none.
CALLER = {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https"}


class RunnerStartError(Exception):
    """The app does not come up; the text is the cause, as far as it is known."""

    def __init__(self, text: str, *, killed: bool) -> None:
        super().__init__(text)
        self.killed = killed


class Exchange:
    """One request's turn on a runner; `log` gets the lines that the app prints meanwhile."""

    def __init__(self, runner: "Runner", log: Callable[[Line], None] | None) -> None:
        self.id = uuid.uuid4().hex
        self.runner = runner
        self.log = log

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[RunnerResponse]:
        """Send the request; raises a RunnerLostError when the runner goes away."""
        return self.runner.connections.send(method, path, {**headers, **self.headers()}, body)

    def headers(self) -> dict[str, str]:
        """What the gateway adds to the request."""
        return {**CALLER, EXCHANGE_HEADER.decode(): self.id}

    async def hang_up(self) -> None:
        """Tell the app that the caller has left; its answer is still waited for.

        Said again until it has been heard: the runner may be busy, or the request itself not have got there yet.
        """
        while self.id in self.runner.exchanges:
            with contextlib.suppress(httpx.HTTPError):
                response = await self.runner.request("GET", "/", {HANG_UP: self.id}, seconds=ASIDE_SECONDS)
                if response.status_code == KNOWN:
                    return
            await asyncio.sleep(POLL_SECONDS)


class Runner:
    """One `fal run --local` process, listening on a Unix socket for its gateway alone."""

    def __init__(
        self,
        number: int,
        reference: str,
        environment: Mapping[str, str],
        sockets: Path,
        on_line: Callable[[Line], None],
    ) -> None:
        self.number = number
        self.id = str(uuid.uuid4())
        self.options = AppOptions()
        self.hints: frozenset[str] = frozenset()
        self.exchanges: dict[str, Exchange] = {}
        self.exited = asyncio.Event()
        self.doomed = False
        self.worked = False
        self._shutting_down: asyncio.Task[None] | None = None
        self._cause = ""
        self._on_line = on_line
        self._last_lines: deque[str] = deque(maxlen=30)
        self._started = time.monotonic()
        self._socket = sockets / f"{self.id[:13]}.sock"
        self._output = RunnerOutput(self._take_line, self._take_message)
        lifeline, self._lifeline = os.pipe()
        try:
            # A session of its own: Ctrl-C reaches the gateway, which then stops its runners in order.
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own module
                [sys.executable, "-m", "localfal.fal_run", reference],
                stdin=subprocess.DEVNULL,
                stdout=self._output.stdout,
                stderr=self._output.stderr,
                env={
                    **environment,
                    "FAL_JOB_ID": self.id,
                    "FAL_RUNNER_ID": self.id,
                    LIFELINE: str(lifeline),
                    SOCKET: str(self._socket),
                    "PYTHONUNBUFFERED": "1",
                },
                pass_fds=[lifeline],
                start_new_session=True,
            )
        except OSError:
            self._output.close_child_ends()
            self._output.close()
            os.close(self._lifeline)
            raise
        finally:
            os.close(lifeline)
        self._output.started()
        self.connections = RunnerConnections(self._socket)
        self._watch = asyncio.create_task(self._wait_for_exit())

    @property
    def pid(self) -> int:
        """The process, for whoever wants to see it."""
        return self._process.pid

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._socket

    @property
    def free(self) -> bool:
        """Whether it may take one more request."""
        return not self.doomed and len(self.exchanges) < self.options.max_multiplexing

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._started

    async def ready(self) -> None:
        """Return when `setup()` is over and the app's server listens; raise RunnerStartError when that fails."""
        while not self.exited.is_set():
            if await self.connections.reachable():
                self._output.read()
                return
            if self.age > self.options.startup_timeout:
                self.kill()
                limit = f"setup() was not over within the app's startup_timeout of {self.options.startup_timeout:g} s"
                raise RunnerStartError(limit, killed=False)
            await asyncio.sleep(POLL_SECONDS)
        code = self._process.returncode
        cause = self._cause or (self._last_lines[-1].removeprefix("✘ ") if self._last_lines else "")
        ending = f"the runner was ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise RunnerStartError(f"{cause} ({ending})" if cause else ending, killed=code < 0)

    async def openapi(self) -> dict[str, Any]:
        """What the app says about its endpoints; nothing where it does not say."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            document = (await self.request("GET", "/openapi.json", seconds=OPENAPI_SECONDS)).json()
            if isinstance(document, dict):
                return document
        return {}

    def begin(self, log: Callable[[Line], None] | None) -> Exchange:
        """A request's turn begins."""
        self._output.read()
        self.worked = True
        exchange = Exchange(self, log)
        self.exchanges[exchange.id] = exchange
        return exchange

    def end(self, exchange: Exchange) -> None:
        """The request is over: the lines up to here were its."""
        if not self.exited.is_set():
            self._output.read()
        self.exchanges.pop(exchange.id, None)

    def kill(self) -> None:
        """End the process and its children, at once."""
        self.doomed = True
        if self.exited.is_set():
            return  # its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *, seconds: float
    ) -> httpx.Response:
        """A call beside the requests in progress, which takes up to so many seconds; raises httpx.HTTPError."""
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket), verify=False)  # there is no TLS
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=seconds) as client:
            return await client.request(method, f"http://127.0.0.1{path}", headers={**CALLER, **(headers or {})})

    async def answers(self) -> bool:
        """Whether it still is what it was: a process that is being killed may take connections for another moment."""
        try:
            await self.request("GET", "/", {HANG_UP: "nobody"}, seconds=ASIDE_SECONDS)
        except httpx.HTTPError:
            return False
        return not self.exited.is_set()

    async def stop(self) -> None:
        """Ask the process to end (`teardown()` runs), and insist after the app's grace period."""
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(self.options.grace):
                    await self.exited.wait()
            except TimeoutError:
                self.kill()
        await self._watch

    def shut_down(self) -> None:
        """From now on it gets no request, and is being stopped."""
        self.doomed = True
        if self._shutting_down is None:
            self._shutting_down = asyncio.create_task(self.stop())

    def _take_line(self, line: Line) -> None:
        self._last_lines.append(line.text)
        self._on_line(line)
        exchange = self.exchanges.get(line.exchange)
        if not line.exchange and len(self.exchanges) == 1:
            (exchange,) = self.exchanges.values()
        if exchange is not None and exchange.log is not None:
            exchange.log(line)

    def _take_message(self, kind: str, content: str) -> None:
        if kind == "options":
            self.options = AppOptions.read(options_in(content))
        elif kind == "cause":
            self._cause = content

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
        self._output.close()
        self.exited.set()
        os.close(self._lifeline)
        self._lifeline = -1  # the number may soon belong to another file
        self.connections.close()
        for path in (self._socket, Path(f"{self._socket}.metrics")):
            path.unlink(missing_ok=True)
