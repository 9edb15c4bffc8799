"""One HTTP exchange with a runner, in as few turns of the event loop as there are packets.

While hundreds of callers poll, every turn is long; a queue can hand a runner its next request no sooner than the turns
of the last exchange are over. A general HTTP client takes seven of them for a small answer, this takes two or three.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11

from localfal.errors import RunnerLostError

CONNECT_SECONDS = 5.0
# fal's runner closes idle connections after 300 s; one that is about to be closed is not used again.
REUSE_SECONDS = 60.0
CHUNK = 65536
DONE = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}


@dataclass(frozen=True)
class RunnerResponse:
    """An answer's head, and its body as it comes."""

    status: int
    headers: dict[str, str]
    chunks: AsyncIterator[bytes]


class RunnerConnection:
    """A kept-alive connection to a runner, for one exchange at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._last_used = 0.0

    @asynccontextmanager
    async def send(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> AsyncIterator[RunnerResponse]:
        """Send a request; raises RunnerLostError, here or from the chunks, when the runner goes away."""
        protocol, reusable = h11.Connection(h11.CLIENT), False
        try:
            reader = await self._write(protocol, method, target, headers, body)
            events = _events(protocol, reader)
            head = await anext(events, None)  # None: the runner went away without an answer
            while isinstance(head, h11.InformationalResponse):
                head = await anext(events, None)
            if not isinstance(head, h11.Response):
                raise RunnerLostError
            yield RunnerResponse(head.status_code, _joined(head), _chunks(events))
            # After an exception in the app, the runner's server closes the connection without having said so.
            reusable = head.status_code < 500 and protocol.states == DONE
        finally:
            self._last_used = time.monotonic()
            if not reusable:
                self.close()

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _write(
        self, protocol: h11.Connection, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> asyncio.StreamReader:
        if not self._usable():
            self.close()
            await self._open()
        if self._streams is None:
            raise RunnerLostError
        reader, writer = self._streams
        lines = {"host": f"127.0.0.1:{self._port}", **headers, "content-length": str(len(body))}
        # Callers may write Latin-1, which h11 takes as bytes only.
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
        request = h11.Request(method=method, target=target, headers=raw)
        parts = [protocol.send(part) for part in (request, h11.Data(data=body), h11.EndOfMessage())]
        try:
            writer.write(b"".join(part for part in parts if part))
            await writer.drain()
        except OSError:
            raise RunnerLostError from None
        return reader

    def _usable(self) -> bool:
        if self._streams is None or time.monotonic() - self._last_used > REUSE_SECONDS:
            return False
        reader, writer = self._streams
        return not (reader.at_eof() or writer.is_closing())

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        except (OSError, TimeoutError):
            raise RunnerLostError from None


async def _events(protocol: h11.Connection, reader: asyncio.StreamReader) -> AsyncIterator[h11.Event]:
    """The events of an answer, up to its end."""
    while True:
        try:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                protocol.receive_data(await reader.read(CHUNK))
                continue
        except (OSError, h11.RemoteProtocolError):
            raise RunnerLostError from None
        if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return
        if isinstance(event, h11.Event):
            yield event


async def _chunks(events: AsyncIterator[h11.Event]) -> AsyncIterator[bytes]:
    async for event in events:
        if isinstance(event, h11.Data):
            yield bytes(event.data)


def _joined(head: h11.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
