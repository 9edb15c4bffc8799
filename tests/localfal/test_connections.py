"""The gateway's connections, on a server of their own: whoever sends nothing keeps nobody out."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest
import uvicorn
from serving import PATIENCE, eventually

from localfal import connections
from localfal.connections import Connection, Listener, Waiting

HALF = b"GET / HTTP/1.1\r\nHost: "
WHOLE = HALF + b"127.0.0.1\r\n\r\n"


LARGE = 16_000_000  # more than a system keeps for a reader


UPGRADE = (
    WHOLE[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hello"})
        return
    body = bytes(LARGE if scope["path"] == "/large" else 2)
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


class Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    """May have some forty connections at once."""
    listener = Listener(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    probe = os.dup(listener.fileno())
    listener.most_files = probe + 40
    os.close(probe)
    made = partial(Connection, waiting=Waiting(listener.most_files))
    options = {"lifespan": "off", "log_level": "warning", "ws": "websockets-sansio"}
    server = Server(uvicorn.Config(application, http=made, **options))  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    eventually(lambda: server.started)
    yield server
    server.should_exit = True
    thread.join(PATIENCE)


@pytest.fixture
def port(server: Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


FLOOD = f"""
import socket, sys
made = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(200)]
for one in made:
    try:
        one.sendall({HALF!r})
    except OSError:
        pass
print("made", flush=True)
sys.stdin.read()
"""


def test_requests_that_never_end_make_room_for_others(port: int) -> None:
    flooding = [sys.executable, "-S", "-c", FLOOD, str(port)]  # a process of its own: files are counted by process
    with (
        connect(port) as first,
        subprocess.Popen(flooding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flood,
    ):
        first.sendall(HALF)
        assert flood.stdout
        assert flood.stdout.readline() == b"made\n"

        def answered() -> bool:
            with connect(port) as last, suppress(ConnectionError):
                last.sendall(WHOLE)
                return last.recv(12) == b"HTTP/1.1 200"
            return False  # while the flood comes in, there may be no room for a moment

        eventually(answered)
        first.settimeout(PATIENCE)
        with suppress(ConnectionResetError):
            assert first.recv(1) == b"", "whoever waits longest is the first to go"
        flood.communicate(b"")


def test_a_connection_waits_for_its_request_only_so_long(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WAITING_SECONDS", 0.05)
    for sent in (b"", HALF, WHOLE + HALF):
        with connect(port) as waiting:
            waiting.sendall(sent)
            answer = b""
            with suppress(ConnectionResetError):
                while piece := waiting.recv(65536):
                    answer += piece
            assert answer.startswith(b"HTTP/1.1 200") == (WHOLE in sent)


def test_an_answer_that_nobody_takes_is_dropped(server: Server, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.05)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", port))
        reader.sendall(WHOLE.replace(b"GET / ", b"GET /large "))
        eventually(lambda: server.server_state.total_requests or not server.server_state.connections)
        eventually(lambda: not server.server_state.connections)
        received = 0
        with suppress(ConnectionResetError):
            while piece := reader.recv(1 << 20):
                received += len(piece)
        assert received < LARGE


def test_a_socket_opened_before_the_last_answer_was_taken_stays_open(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0)
    with connect(port) as reader:
        reader.sendall(WHOLE.replace(b"GET / ", b"GET /large ") + UPGRADE)
        received = b""
        while piece := reader.recv(1 << 20):
            received = received[-1000:] + piece
    assert b"HTTP/1.1 101" in received
    assert received.endswith(b"hello")
