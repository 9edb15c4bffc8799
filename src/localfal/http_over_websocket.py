"""`wss://ws.fal.run/…`: direct calls one after the other over a socket, each answered in the order of the payloads."""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Send
from starlette.websockets import WebSocket

from localfal.buffer import Memory
from localfal.errors import PlatformError

MAX_WAITING = 64
MAX_WAITING_BYTES = 32 * 1024 * 1024  # of one socket; two of the largest messages
BROKEN_OFF = 1011
TRY_AGAIN_LATER = 1013

# Answers one payload, given its id: as an ASGI application would, or with a PlatformError.
Answer = Callable[[str, bytes, Receive, Send], Awaitable[None]]


class _Payloads:
    """Those of one socket that wait for their turn, in memory that all requests share."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._own = Memory(MAX_WAITING_BYTES)
        self._held = 0
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)

    async def put(self, payload: bytes) -> bool:
        """Whether there was room for it; waits while this socket itself has too much."""
        while not self._own.take(len(payload)):
            await self._own.given()
        if not self._memory.share(len(payload), self._held):
            return False
        self._held += len(payload)
        await self._queue.put(payload)
        return True

    async def end(self) -> None:
        """There will be no more."""
        await self._queue.put(None)

    async def get(self) -> bytes | None:
        """The next one; None at the end."""
        return await self._queue.get()

    def answered(self, payload: bytes) -> None:
        """One is no longer needed."""
        self._held -= len(payload)
        self._own.give(len(payload))
        self._memory.give(len(payload))

    def close(self) -> None:
        """None is."""
        self._memory.give(self._held)
        self._held = 0


async def serve(socket: WebSocket, answer: Answer, memory: Memory) -> None:
    """Answer payloads until the caller closes: the metadata of a start, the answer's parts, the metadata of its end."""
    await socket.accept()
    payloads = _Payloads(memory)
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
            payloads.answered(payload)
            if not (sender.ended or closed.is_set()):
                await socket.close(BROKEN_OFF, "The answer was broken off")
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        payloads.close()


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


async def _read(socket: WebSocket, payloads: _Payloads, closed: asyncio.Event) -> None:
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        content = message.get("bytes")
        if not await payloads.put(message["text"].encode() if content is None else content):
            await socket.close(TRY_AGAIN_LATER, "Too many large requests are on their way")
            break
    closed.set()
    await payloads.end()
