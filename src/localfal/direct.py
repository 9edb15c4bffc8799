"""A direct call (`fal.run`): straight to a runner, as soon as one is free; never tried twice."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Send

from localfal.dispatch import REPLACE_STATUSES, Dispatcher, passed_on, send_cancel
from localfal.errors import PlatformError, RunnerLostError
from localfal.runners import Runner


async def call(
    dispatcher: Dispatcher,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    start_timeout: float | None,
    receive: Receive,
    send: Send,
) -> None:
    """Answer a direct call; a caller that hangs up gives up its turn, or has the app told."""
    request_id = str(uuid.uuid4())
    headers = {**headers, "x-fal-request-id": request_id}
    caller = _Caller(receive)
    try:
        async with dispatcher.lease(start_timeout) as runner:
            caller.on_leave = lambda: send_cancel(runner, path, request_id)
            await _pass_through(runner, method, path, headers, body, send)
    except asyncio.CancelledError:
        if not caller.left:
            raise
    except PlatformError as error:
        error.headers["x-fal-request-id"] = request_id
        raise
    finally:
        await caller.stop()


class _Caller:
    """Watches whether a direct caller hangs up: while it waits, its turn is given up; later, the app is told."""

    def __init__(self, receive: Receive) -> None:
        self.left = False
        self.on_leave: Callable[[], Awaitable[None]] | None = None
        self._call = asyncio.current_task()
        self._watch = asyncio.create_task(self._wait(receive))

    async def _wait(self, receive: Receive) -> None:
        message: Message = {}
        while message.get("type") != "http.disconnect":
            message = await receive()
        self.left = True
        if self.on_leave is not None:
            await self.on_leave()
        elif self._call is not None:
            self._call.cancel()

    async def stop(self) -> None:
        self._watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watch


async def _pass_through(
    runner: Runner, method: str, path: str, headers: dict[str, str], body: bytes, send: Send
) -> None:
    """Send one request to a runner, and its answer to the caller as it comes."""
    started = False
    try:
        async with runner.connection.send(method, path, headers, body) as response:
            if response.status in REPLACE_STATUSES:
                runner.doomed = True
            answer = {**passed_on(response.headers), "x-fal-request-id": headers["x-fal-request-id"]}
            if "content-length" in response.headers:
                answer["content-length"] = response.headers["content-length"]
            raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.items()]
            await send({"type": "http.response.start", "status": response.status, "headers": raw})
            started = True
            async for chunk in response.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except RunnerLostError:
        runner.doomed = True
        if not started:
            raise
    finally:
        if runner.doomed:
            runner.kill()
