"""Web and name servers on loopback, each for one test."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from photomaker.photos.download import fetch

FIELD = "image_archive_url"
BODY = bytes(range(256)) * 40
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each path as it is told to, and remembers who asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {"/file": body(BODY)}
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((self.headers["Host"], self.path))
                with suppress(OSError):  # a client that hangs up is the point of some tests
                    outer.answers[self.path.partition("?")[0]](self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "/file", host: str = "localhost", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def body(content: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if "content_length" not in headers:
            handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    return body(b"", status, location=location)


def drip(chunk: bytes, first: bytes = b"HTTP/1.1 200 OK\r\n\r\n", pause: float = 0.05) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(first)
        for _ in range(400):
            handler.wfile.write(chunk)
            time.sleep(pause)
        handler.close_connection = True

    return answer


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(tls)
    try:
        yield server
    finally:
        server.close()


def get(url: str, **options: object) -> bytes:
    return fetch(url, field=FIELD, **{"allow": frozenset({"localhost"}), **options})


class NameServer:
    """A getaddrinfo that gives each of its answers once, and then the last one again and again."""

    def __init__(self, *answers: str | list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        addresses = [answer] if isinstance(answer, str) else answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
