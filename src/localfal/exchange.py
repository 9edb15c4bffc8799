"""HTTP exchanges with a runner, in as few turns of the event loop as there are packets.

While hundreds of callers poll, every turn is long; a queue can hand a runner its next request no sooner than the turns
of the last exchange are over. A general HTTP client takes seven of them for a small answer, this takes two or three.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import h11

from localfal.errors import BadRequestError, IncompleteAnswerError, RunnerLostError, RunnerUnreachableError

CONNECT_SECONDS = 5.0
# fal's runner closes idle connections after 300 s; one that is about to be closed is not used again.
REUSE_SECONDS = 60.0
MAX_UNREAD = 1024 * 1024
DONE = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}


@dataclass(frozen=True)
class RunnerResponse:
    """An answer's head, and its body as it comes."""

    status: int
    headers: dict[str, str]
    chunks: AsyncIterator[bytes]


class _Connection(asyncio.Protocol):
    """One connection; what has been received can be read even when writing has failed.

    A runner may answer before it has read all of a request, and close.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.ended = False
        self.last_used = 0.0
        self._received = bytearray()
        self._change = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_UNREAD:
            self.transport.pause_reading()
        self._change.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._change.set()

    async def read(self) -> bytes:
        """What has come in; empty at the end."""
        while not self._received and not self.ended:
            self._change.clear()
            await self._change.wait()
        data = bytes(self._received)
        self._received.clear()
        if not self.ended:
            self.transport.resume_reading()
        return data

    def usable(self) -> bool:
        """Whether another exchange may begin."""
        idle = time.monotonic() - self.last_used
        return not (self.ended or self._received or self.transport.is_closing() or idle > REUSE_SECONDS)


class RunnerConnections:
    """The connections to a runner's socket: kept alive, each for one exchange at a time."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)
        self._idle: list[_Connection] = []

    @asynccontextmanager
    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[RunnerResponse]:
        """Send a request; raises a RunnerLostError, here or from the chunks, when the runner goes away."""
        connection, protocol, reusable = await self._take(), h11.Connection(h11.CLIENT), False
        try:
            lines = {"host": "127.0.0.1", **headers, "content-length": str(len(body))}
            # Callers may write Latin-1, which h11 takes as bytes only.
            raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
            try:
                request = h11.Request(method=method, target=target, headers=raw)
            except h11.LocalProtocolError as error:  # a stored one, damaged
                raise BadRequestError(f"The request cannot be sent to the app: {error}") from None
            parts = [protocol.send(part) for part in (request, h11.Data(data=body), h11.EndOfMessage())]
            connection.transport.write(b"".join(part for part in parts if part))
            events = _events(protocol, connection)
            head = await anext(events, None)  # None: the runner went away without an answer
            while isinstance(head, h11.InformationalResponse):
                head = await anext(events, None)
            if not isinstance(head, h11.Response):
                raise RunnerLostError
            yield RunnerResponse(head.status_code, _joined(head), _chunks(events))
            # After an exception in the app, the runner's server closes the connection without having said so.
            reusable = head.status_code < 500 and protocol.states == DONE
        finally:
            connection.last_used = time.monotonic()
            if reusable and not connection.ended:
                self._idle.append(connection)
            else:
                connection.transport.abort()

    async def reachable(self) -> bool:
        """Whether the runner's server takes connections."""
        try:
            connection = await self._open()
        except RunnerUnreachableError:
            return False
        connection.transport.close()
        return True

    def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.transport.abort()
        self._idle.clear()

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            connection.transport.abort()
        return await self._open()

    async def _open(self) -> _Connection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await asyncio.get_running_loop().create_unix_connection(_Connection, self._socket)
        except (OSError, TimeoutError):
            raise RunnerUnreachableError from None
        return connection


async def _events(protocol: h11.Connection, connection: _Connection) -> AsyncIterator[h11.Event]:
    """The events of an answer, up to its end."""
    while True:
        try:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                protocol.receive_data(await connection.read())
                continue
        except h11.RemoteProtocolError:
            raise RunnerLostError from None
        if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return
        if isinstance(event, h11.Event):
            yield event


async def _chunks(events: AsyncIterator[h11.Event]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            if isinstance(event, h11.Data):
                yield bytes(event.data)
    except RunnerLostError:
        raise IncompleteAnswerError from None


def _joined(head: h11.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
