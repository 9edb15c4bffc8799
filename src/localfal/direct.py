"""A direct call (`fal.run`): straight to a runner, as soon as one is free; never tried twice."""

import asyncio
import logging
import math
import uuid
from dataclasses import dataclass, field

from starlette.types import Message, Receive, Send

from localfal import outcome as outcomes
from localfal.buffer import STALL_SECONDS, AnswerBuffer, Memory
from localfal.dispatch import Dispatcher, request_timeout, send_cancel
from localfal.errors import InternalError, PlatformError
from localfal.exchange import RunnerResponse
from localfal.fleet import follow_up
from localfal.jobs import Call
from localfal.outcome import Outcome
from localfal.runner import Exchange

log = logging.getLogger(__name__)

MAX_PART = 64 * 1024
DRAIN_SECONDS = 120.0  # for what is left of an answer once the runner has given it all


@dataclass(frozen=True)
class DirectCall(Call):
    """A call whose answer is sent as it comes."""

    method: str = "POST"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


async def answer(dispatcher: Dispatcher, call: DirectCall, memory: Memory, receive: Receive, send: Send) -> None:
    """Answer a direct call; a caller that hangs up gives up its turn, or has the app told.

    Returns when the runner is free again; raises the PlatformError that the caller gets instead of an answer.
    """
    work = _Work(dispatcher, call, AnswerBuffer(memory))
    leaving = asyncio.create_task(_left(receive))
    sending = asyncio.create_task(work.send_on(send))
    try:
        await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not isinstance(sending.exception(), TimeoutError):
            sending.result()
        else:  # hung up, or reads nothing any more
            sending.cancel()
            await work.leave()
        await work.done()
    except PlatformError as error:
        error.headers["x-fal-request-id"] = call.id
        raise
    finally:
        leaving.cancel()
        sending.cancel()
        await asyncio.gather(leaving, sending, return_exceptions=True)
        await work.stop()


class _Work:
    """The runner's side of a call."""

    def __init__(self, dispatcher: Dispatcher, call: DirectCall, buffer: AnswerBuffer) -> None:
        self._dispatcher = dispatcher
        self._call = call
        self._buffer = buffer
        self._exchange: Exchange | None = None
        self._head: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._broken = False
        self._drained_by = math.inf
        self._asides: list[asyncio.Task[None]] = []
        self._task = asyncio.create_task(self._run())

    async def send_on(self, send: Send) -> None:
        """Send the answer to the caller as it comes; raises TimeoutError when the caller takes too little of it."""
        head = await asyncio.shield(self._head)  # whoever sends may leave before there is one
        await self._send_part(send, head)
        async for chunk in self._buffer.parts():
            for start in range(0, len(chunk), MAX_PART):
                part = chunk[start : start + MAX_PART]
                await self._send_part(send, {"type": "http.response.body", "body": part, "more_body": True})
        if not self._broken:
            await self._send_part(send, {"type": "http.response.body", "body": b""})

    async def _send_part(self, send: Send, message: Message) -> None:
        async with asyncio.timeout_at(min(asyncio.get_running_loop().time() + STALL_SECONDS, self._drained_by)):
            await send(message)

    async def leave(self) -> None:
        """Nobody waits any more: give up the turn, or tell the app, in both ways that fal has."""
        self._buffer.abandon()
        if self._task.done():
            return
        if self._exchange is None:
            self._task.cancel()
            return
        cancel = send_cancel(self._exchange.runner, self._call.path, self._call.id, lambda: not self._task.done())
        self._asides = [asyncio.create_task(work) for work in (self._exchange.hang_up(), cancel)]

    async def done(self) -> None:
        """Return when the runner is free again."""
        await asyncio.wait({self._task})

    async def stop(self) -> None:
        """Let go of everything."""
        tasks = [self._task, *self._asides]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._head.done() and not self._head.cancelled():
            self._head.exception()  # nobody may have waited for it

    async def _run(self) -> None:
        try:
            async with self._dispatcher.lease(self._call.start_timeout, self._call.hint) as exchange:
                self._exchange = exchange
                error, outcome = await self._relay(exchange)
                await follow_up(exchange.runner, outcome)
            if error is not None:
                raise error
        except PlatformError as error:
            self._fail(error)
        except Exception:
            log.exception("%s", self._call.path)
            self._fail(InternalError())
        finally:
            self._drained_by = asyncio.get_running_loop().time() + DRAIN_SECONDS
            self._buffer.end()
            self._head.cancel()

    def _fail(self, error: PlatformError) -> None:
        self._broken = self._head.done()
        if not self._broken:
            self._head.set_exception(error)

    async def _relay(self, exchange: Exchange) -> tuple[PlatformError | None, Outcome]:
        call, outcome = self._call, Outcome()
        headers = {**call.headers, "x-fal-request-id": call.id}
        try:
            async with (
                request_timeout(exchange.runner),
                exchange.send(call.method, call.path, headers, call.body) as response,
            ):
                outcome = outcomes.of_answer(response.status, response.headers)
                self._head.set_result(_start(response, call.id))
                async for chunk in response.chunks:
                    await self._buffer.put(chunk)
        except PlatformError as error:
            return error, outcomes.of_error(error)
        return None, outcome


def _start(response: RunnerResponse, request_id: str) -> Message:
    kept = {**outcomes.passed_on(response.status, response.headers), "x-fal-request-id": request_id}
    if "content-length" in response.headers:
        kept["content-length"] = response.headers["content-length"]
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept.items()]
    return {"type": "http.response.start", "status": response.status, "headers": raw}


async def _left(receive: Receive) -> None:
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
