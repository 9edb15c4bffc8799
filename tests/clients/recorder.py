"""A TLS server between a client and the platform that notes what they say to each other."""

import http.client
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving import Served

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "date"}
VARYING = [
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "{request}"),
    (re.compile(r"/files/[0-9a-f]{32}"), "/files/{file}"),
    (re.compile(r"/\d{13}\.plain"), "/{time}.plain"),
    (re.compile(r"(upload=|multipart/)[\w-]{32}"), r"\1{token}"),
]


def shape(value: Any) -> Any:
    """The types of a JSON value, and the words that are the protocol's own."""
    if isinstance(value, dict):
        return {key: value[key] if key == "status" else shape(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@contextmanager
def recorder(served: Served) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a recorder in front of a platform, and the list that it writes to."""
    exchanges: list[dict[str, Any]] = []
    addresses = served.addresses
    trusting = ssl.create_default_context(cafile=addresses.bundle)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            upstream = http.client.HTTPSConnection("localhost", addresses.https, context=trusting)
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            response = upstream.getresponse()
            content = response.read()
            upstream.close()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()
            exchanges.append(self.note(body, response, content))

        do_GET = do_POST = do_PUT = forward  # noqa: N815

        def note(self, body: bytes, response: http.client.HTTPResponse, content: bytes) -> dict[str, Any]:
            path = self.path
            for pattern, word in VARYING:
                path = pattern.sub(word, path)
            sent = {name.lower(): value for name, value in self.headers.items()}
            exchange = {
                "request": f"{self.command} {path}",
                "headers": {name: sent[name] for name in sorted(sent) if name.startswith("x-fal-")},
                "authorized": sent.get("authorization", "").startswith("Key "),
                "status": response.status,
                "content_type": (response.getheader("content-type") or "").partition(";")[0],
                "request_id": response.getheader("x-fal-request-id") is not None,
            }
            if exchange["content_type"] == "application/json":
                exchange["answer"] = shape(json.loads(content))
            if exchange["content_type"] == "text/event-stream":
                events = [json.loads(line[6:]) for line in content.decode().splitlines() if line.startswith("data: ")]
                exchange["last_event"] = sorted(events[-1])
            return exchange

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served.state / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"localhost:{server.server_port}", exchanges
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def without_waiting(exchanges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All but the polls before completion, whose number varies; these are checked for what clients read."""
    for exchange in exchanges:
        if exchange["status"] == 202:
            needed = {"IN_QUEUE": "queue_position", "IN_PROGRESS": "logs"}[exchange["answer"]["status"]]
            assert needed in exchange["answer"]
    return [exchange for exchange in exchanges if exchange["status"] != 202]
