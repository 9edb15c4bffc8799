"""In a runner: the app as its server sees it, with what only the gateway may say to it."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from localfal.labelled_output import EXCHANGE, finish_lines, tell_gateway

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

EXCHANGE_HEADER = b"x-localfal-exchange"
HANG_UP_HEADER = b"x-localfal-hang-up"


class RunnerApp:
    """An ASGI application around the app.

    A caller's hang-up comes as a request of its own and reaches the app as `http.disconnect`. The connection stays
    open meanwhile: the end of the answer tells the gateway when the runner is free again.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._hung_up: dict[bytes, asyncio.Event] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        headers = dict(scope["headers"])
        leaving = headers.get(HANG_UP_HEADER)
        if leaving is not None:
            known = self._hung_up.get(leaving)
            if known is not None:
                known.set()
            status = 404 if known is None else 200
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        exchange = headers.get(EXCHANGE_HEADER, b"")
        kept = [(name, value) for name, value in scope["headers"] if name != EXCHANGE_HEADER]
        await self._serve({**scope, "headers": kept}, receive, send, exchange)

    async def _serve(self, scope: Message, receive: Receive, send: Send, exchange: bytes) -> None:
        label = exchange.decode("ascii", "replace")
        hung_up = self._hung_up[exchange] = asyncio.Event()
        token = EXCHANGE.set(label)

        async def receive_or_hang_up() -> Message:
            if hung_up.is_set():
                return {"type": "http.disconnect"}
            incoming, leaving = asyncio.ensure_future(receive()), asyncio.ensure_future(hung_up.wait())
            try:
                await asyncio.wait({incoming, leaving}, return_when=asyncio.FIRST_COMPLETED)
                return incoming.result() if incoming.done() else {"type": "http.disconnect"}
            finally:
                incoming.cancel()
                leaving.cancel()

        left: float = float("inf")

        async def send_lines_first(message: Message) -> None:
            # To the gateway the answer is over with its last byte, whatever messages follow.
            nonlocal left
            if message["type"] == "http.response.start":
                left = float(dict(message.get("headers", ())).get(b"content-length", "inf"))
            elif message["type"] == "http.response.body":
                left -= len(message.get("body", b""))
                if left <= 0 or not message.get("more_body"):
                    finish_lines(label)
            await send(message)

        try:
            if scope["type"] == "http":
                await self._app(scope, receive_or_hang_up, send_lines_first)
            else:
                await self._app(scope, receive, send)
        finally:
            finish_lines(label)
            EXCHANGE.reset(token)
            if exchange:
                self._hung_up.pop(exchange, None)

    async def _lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_cause(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                tell_gateway("cause", cause_in(str(message.get("message", ""))))
            await send(message)

        await self._app(scope, receive, send_cause)


def cause_in(text: str) -> str:
    """The last exception of a printed traceback: its type and its words."""
    *_, last = text.rpartition("Traceback (most recent call last):\n")
    lines = last.rstrip().splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith(" "):
            return " ".join(lines[number:])
    return lines[-1].strip() if lines else ""


def described(error: BaseException) -> str:
    """An exception as the end of its traceback has it."""
    return "".join(traceback.format_exception_only(error)).strip()
