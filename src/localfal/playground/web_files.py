"""The page's files and the example files, held and handed out with headers that keep a page to itself."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from localfal.errors import MethodNotAllowedError, NotFoundError

WEB = Path(__file__).with_name("web")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MAX_EXAMPLES = 24
MAX_EXAMPLE_BYTES = 32 * 1024 * 1024

# Scripts and styles are the page's own files; whatever a result names elsewhere is a link, never loaded by itself.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types localfal",
    ]
)
SHARED_HEADERS = {
    "cache-control": "no-cache",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
PAGE_HEADERS = {
    **SHARED_HEADERS,
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "vary": "accept-encoding",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    packed: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> "_File":
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        return cls(content, gzip.compress(content, mtime=0), TYPES[path.suffix], tag)


class WebFiles:
    """`/`, `/playground/…`, and under `/playground/examples` the files of a folder that the form offers."""

    def __init__(self, examples: Path | None) -> None:
        self._files = {f"/playground/{path.name}": _File.read(path) for path in WEB.iterdir() if path.suffix in TYPES}
        self._files["/"] = self._files["/playground/index.html"]
        self._examples = {path.name: path for path in example_files(examples)}

    def answer(self, request: Request, path: str) -> Response:
        """A file, or the list of examples."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError("GET, HEAD")
        if path == "/playground/examples":
            return JSONResponse([_described(file) for file in self._examples.values()], headers=SHARED_HEADERS)
        if path.startswith("/playground/examples/"):
            return self._example(path.removeprefix("/playground/examples/"))
        file = self._files.get(path)
        if file is None:
            raise NotFoundError("File not found")
        headers = {**PAGE_HEADERS, "etag": file.tag}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, headers={**headers, "content-encoding": "gzip"}, media_type=file.media_type)
        return Response(file.content, headers=headers, media_type=file.media_type)

    def _example(self, name: str) -> Response:
        path = self._examples.get(name)
        if path is None or not path.is_file():
            raise NotFoundError("File not found")
        headers = {**SHARED_HEADERS, "content-security-policy": "sandbox"}
        return FileResponse(path, headers=headers, media_type=_media_type(path), filename=path.name)


def example_files(folder: Path | None) -> list[Path]:
    """The folder's own files, by name; what is hidden, too large or beyond the first 24 is left out."""
    if folder is None:
        return []
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in files if path.stat().st_size <= MAX_EXAMPLE_BYTES][:MAX_EXAMPLES]


def _described(path: Path) -> dict[str, object]:
    return {"file_name": path.name, "content_type": _media_type(path), "file_size": path.stat().st_size}


def _media_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"
