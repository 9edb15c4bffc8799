"""Connections: those that wait make room for others, and all of them together leave the platform files of its own."""

import asyncio
import resource
import socket
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

UNREAD_SECONDS = 30.0  # for a caller to take what has been sent
WAITING_SECONDS = 75.0  # between two requests of a connection, up to the end of the second one's head
FILES = 10_240  # that this process may have open, where the system lets it
OWN_FILES = 256  # of them: the runners' pipes and sockets, uploads, the database


def allow_files() -> int:
    """Let this process have its files; returns how many connections may take."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    if least == resource.RLIM_INFINITY:
        least = FILES
    elif least < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            least = wanted
    return max(least - OWN_FILES, least // 2)


class Listener(socket.socket):
    """A listening socket that hangs up on whoever is one too many.

    Systems number files by the lowest number that is free: a high one says how many are open, whatever they are.
    """

    most_files = FILES

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if connection.fileno() >= self.most_files:
            connection.close()
            raise BlockingIOError
        return connection, address


class Waiting:
    """The connections that wait for a request, the longest-waiting first."""

    def __init__(self, most_files: int) -> None:
        self._ends: dict[Connection, asyncio.TimerHandle] = {}
        self._most = most_files // 2  # the others are for connections at work

    def begin(self, connection: "Connection") -> None:
        """It waits from now on, unless it has before; where too many do, the first of them no longer."""
        if connection not in self._ends:
            end = asyncio.get_running_loop().call_later(WAITING_SECONDS, self._drop, connection)
            self._ends[connection] = end
        if len(self._ends) > self._most:
            self._drop(next(iter(self._ends)))

    def end(self, connection: "Connection") -> None:
        """It has sent a request, or is gone."""
        if (end := self._ends.pop(connection, None)) is not None:
            end.cancel()

    def _drop(self, connection: "Connection") -> None:
        self.end(connection)
        connection.transport.abort()


class Connection(H11Protocol):
    """One of the gateway's; uvicorn by itself waits without end for a request's head and for an answer's reader."""

    def __init__(self, *args: Any, waiting: Waiting, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting = waiting
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=1)  # what is not taken counts, also behind a close (0 stops TLS)
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = asyncio.get_running_loop().call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        self._waiting.end(self)
        super().connection_lost(exc)

    def _look(self) -> None:
        upgraded = self not in self.connections
        if upgraded:
            self.resume_writing()  # the end of a pause is now for the other protocol to hear
        if upgraded or not (self.cycle is None or self.cycle.response_complete):
            self._waiting.end(self)
        else:
            self._waiting.begin(self)
