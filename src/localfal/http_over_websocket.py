"""`wss://ws.fal.run/…`: direct calls one after the other over a socket, each answered in the order of the payloads."""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Send
from starlette.websockets import WebSocket

from localfal.errors import PlatformError

MAX_WAITING = 64
BROKEN_OFF = 1011

# Answers one payload, given its id: as an ASGI application would, or with a PlatformError.
Answer = Callable[[str, bytes, Receive, Send], Awaitable[None]]


async def serve(socket: WebSocket, answer: Answer) -> None:
    """Answer payloads until the caller closes: the metadata of a start, the answer's parts, the metadata of its end."""
    await socket.accept()
    payloads: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
    closed = asyncio.Event()
    reading = asyncio.create_task(_read(socket, payloads, closed))

    async def wait_for_close() -> Message:
        await closed.wait()
        return {"type": "http.disconnect"}

    try:
        while (payload := await payloads.get()) is not None and not closed.is_set():
            sender = _Sender(socket, str(uuid.uuid4()))
            try:
                await answer(sender.request_id, payload, wait_for_close, sender.send)
            except PlatformError as error:
                response = error.response()
                await response({"type": "http"}, wait_for_close, sender.send)
            if not (sender.ended or closed.is_set()):
                await socket.close(BROKEN_OFF, "The answer was broken off")
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


class _Sender:
    """One answer, turned from ASGI's messages into the socket's."""

    def __init__(self, socket: WebSocket, request_id: str) -> None:
        self.request_id = request_id
        self.ended = False
        self._socket = socket
        self._began = time.monotonic()
        self._status = 0
        self._seconds = 0.0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._seconds = message["status"], time.monotonic() - self._began
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            await self._meta("start", headers=headers)
            return
        if message.get("body"):
            await self._socket.send_bytes(message["body"])
        if not message.get("more_body"):
            self.ended = True
            await self._meta("end", time_to_first_byte_seconds=self._seconds)

    async def _meta(self, kind: str, **content: object) -> None:
        meta = {"type": kind, "request_id": self.request_id, "status": self._status, **content}
        await self._socket.send_text(json.dumps(meta))


async def _read(socket: WebSocket, payloads: asyncio.Queue[bytes | None], closed: asyncio.Event) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            closed.set()
            await payloads.put(None)
            return
        content = message.get("bytes")
        await payloads.put(message["text"].encode() if content is None else content)
