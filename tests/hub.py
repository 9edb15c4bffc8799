"""The part of the Hugging Face hub's protocol that downloads use, on loopback, with faults on request."""

import hashlib
import json
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADDRESS = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?]+)")
ELSEWHERE = "/elsewhere"
LISTING = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<kind>revision|tree)/(?P<revision>[^/?]+)")


class Hub:
    """Serves repositories out of folders: "owner/name", and "owner/name@commit" for what that commit had.

    Attributes:
        url: For HF_ENDPOINT.
        sent: Bytes of each file's content sent so far, over all requests.
        asked: For each file the first byte of every download of it.
        cut: The next download of a file of this name breaks off half-way.
        elsewhere: Send callers to another host for the content of files, as the hub does for large ones.
        stall: The next download of a file of this name stops half-way, until its caller is gone.
    """

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.sent: dict[str, int] = {}
        self.requests = 0
        self.asked: dict[str, list[int]] = {}
        self.cut: set[str] = set()
        self.elsewhere = False
        self.stall: set[str] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        if listing := LISTING.match(request.path):
            self.listing(request, *self.at(listing), listing["kind"])
            return
        path_asked = request.path.removeprefix(ELSEWHERE)
        found = ADDRESS.match(path_asked)
        folder, commit = self.at(found) if found else (None, "")
        path = folder / found["file"] if folder and found else Path("/nowhere")
        if found is None or not path.is_file():
            self.reply(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        start = int(re.sub(r"bytes=(\d+)-.*", r"\1", request.headers.get("Range", "bytes=0-")))
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        if self.elsewhere and path_asked == request.path:
            there = f"http://localhost:{self.server.server_port}{ELSEWHERE}{path_asked}"
            linked = {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content)), "Location": there}
            self.reply(request, 302, b"", headers | linked)
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if request.command == "GET":
            self.asked.setdefault(found["file"], []).append(start)
        self.reply(request, 206 if start else 200, content[start:], headers, found["file"])

    def at(self, found: re.Match[str]) -> tuple[Path | None, str]:
        """A repository's folder at the revision that was asked for, and that revision's commit."""
        pinned = self.repositories.get(f"{found['repo']}@{found['revision']}")
        return (pinned, found["revision"]) if pinned else (self.repositories.get(found["repo"]), COMMIT)

    def listing(self, request: BaseHTTPRequestHandler, folder: Path | None, commit: str, kind: str) -> None:
        if folder is None:
            self.reply(request, 404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(folder).as_posix() for path in files]
        table: object
        if kind == "tree":
            table = [
                {
                    "type": "file",
                    "path": name,
                    "size": path.stat().st_size,
                    "oid": hashlib.sha1(name.encode()).hexdigest(),
                }
                for name, path in zip(names, files, strict=True)
            ]
        else:
            table = {"id": "some/repository", "sha": commit, "siblings": [{"rfilename": name} for name in names]}
        self.reply(request, 200, json.dumps(table).encode(), {"Content-Type": "application/json"})

    def reply(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], name: str = ""
    ) -> None:
        request.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        stalls = name in self.stall
        if name in self.cut | self.stall:
            self.cut.discard(name)
            self.stall.discard(name)
            body = body[: len(body) // 2]
            request.close_connection = True
        self.sent[name] = self.sent.get(name, 0) + len(body)
        request.wfile.write(body)
        if stalls:
            with suppress(ConnectionError):
                request.connection.recv(1)
