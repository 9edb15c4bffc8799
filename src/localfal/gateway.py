"""The front door: which of fal's services a request is for, and who may call."""

import logging
import re
import sqlite3
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from localfal.direct import call
from localfal.dispatch import Dispatcher
from localfal.errors import (
    BadRequestError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    PlatformError,
    StorageFullError,
    TooLargeError,
    UnauthorizedError,
)
from localfal.jobs import Submission
from localfal.queue_api import QueueApi, webhook_url
from localfal.storage_api import StorageApi

log = logging.getLogger(__name__)

SERVICES = {"fal.run": "run", "queue.fal.run": "queue", "rest.fal.ai": "rest", "v3.fal.media": "media"}
LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
# Without one of fal's hosts, the path says which service is meant.
LOCAL_PREFIXES = (("/storage/", "rest"), ("/.well-known/", "rest"), ("/files/", "media"))
MAX_BODY_BYTES = 128 * 1024 * 1024

APP_ID = re.compile(r"/((?:workflows/|comfy/)?[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)(/.*)?", re.DOTALL)
ABOUT_REQUEST = re.compile(
    r"(?:/[^/]+)*?/requests/(?P<id>[0-9a-fA-F-]{1,64})(?:/(?P<action>status|status/stream|response|cancel))?/?"
)
NOT_FOR_APP = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-fal-request-id",
        "x-fal-target-url",
    }
)
PATH_CHARACTERS = "/:@!$&'()*+,;=~"
FOR_PLATFORM = ("fal_webhook", "fal_max_queue_length")
LOCAL_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


@dataclass(frozen=True)
class Target:
    """What a request is for: a service, its path there, and the URL under which the caller knows the service."""

    service: str
    path: str
    base: str
    by_proxy: bool = False


class Gateway:
    """An ASGI application for one app and its platform."""

    def __init__(
        self,
        app_id: str,
        queue_api: QueueApi,
        storage_api: StorageApi,
        dispatcher: Dispatcher,
        webhook_keys: dict[str, object],
    ) -> None:
        self._app_id = app_id
        self._queue_api = queue_api
        self._storage_api = storage_api
        self._dispatcher = dispatcher
        self._webhook_keys = webhook_keys

    def asgi(self) -> ASGIApp:
        """The application, open to pages of this machine and to no other page."""
        return CORSMiddleware(
            self._serve,
            allow_origin_regex=LOCAL_ORIGINS,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"],
            allow_headers=["*"],
            expose_headers=["x-fal-request-id", "x-fal-error-type", "x-fal-billable-units", "etag"],
        )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        try:
            target = find_target(request)
            if target.by_proxy:
                url = urlsplit(request.headers["x-fal-target-url"])
                request = Request({**scope, "path": target.path, "query_string": url.query.encode()}, receive)
            response = await self._answer(request, target, send)
        except PlatformError as error:
            response = error.response()
        except ClientDisconnect:
            return
        except sqlite3.OperationalError as error:
            log.warning("%s %s: %s", scope["method"], scope["path"], error)
            response = StorageFullError(f"The state folder cannot be written: {error}").response()
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            response = InternalError().response()
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, request: Request, target: Target, send: Send) -> Response | None:
        """Answer a request; None when the answer has been sent already."""
        if target.service == "media":
            return await self._storage_api.media(request, target.path)
        if target.service == "rest":
            if target.path == "/.well-known/jwks.json":
                return JSONResponse(self._webhook_keys)
            return await self._storage_api.rest(request, target.path)
        match = APP_ID.fullmatch(target.path)
        if match is None:
            raise BadRequestError(f"Invalid app id: {target.path.strip('/')}. Must be in the format <appOwner>/<appId>")
        app_id, path = match[1], match[2] or "/"
        if not target.by_proxy:
            _require_key(request, app_id)
        if app_id != self._app_id:
            raise NotFoundError(f'Application "{app_id}" not found')
        if target.service == "run":
            whole_path, headers = _with_query(path, request), self._app_headers(request, path)
            body, timeout = await _body(request), _start_timeout(request)
            await call(self._dispatcher, request.method, whole_path, headers, body, timeout, request.receive, send)
            return None
        url = f"{target.base}/{app_id}"
        if about := ABOUT_REQUEST.fullmatch(path):
            return await self._queue_api.about(request, about["id"], about["action"] or "response", url)
        if request.method != "POST":
            raise MethodNotAllowedError("POST")
        return self._queue_api.submit(request, await self._submission(request, path), url)

    async def _submission(self, request: Request, path: str) -> Submission:
        headers = request.headers
        priority = headers.get("x-fal-queue-priority", "normal")
        if priority not in ("normal", "low"):
            raise BadRequestError("X-Fal-Queue-Priority is normal or low")
        return Submission(
            path=_with_query(path, request),
            headers=self._app_headers(request, path),
            body=await _body(request),
            low_priority=priority == "low",
            start_timeout=_start_timeout(request),
            no_retry=headers.get("x-fal-no-retry", "").lower() in ("1", "true", "yes"),
            store_io=headers.get("x-fal-store-io", "1") != "0",
            webhook=webhook_url(request),
        )

    def _app_headers(self, request: Request, path: str) -> dict[str, str]:
        kept = {name: value for name, value in request.headers.items() if name not in NOT_FOR_APP}
        return {**kept, "x-fal-endpoint": self._app_id + _quoted(path.partition("?")[0]).rstrip("/")}


def find_target(request: Request) -> Target:
    """Which service a request is for: by `x-fal-target-url`, by fal's host, or by the path on a loopback host."""
    wanted = request.headers.get("x-fal-target-url")
    if wanted is not None:
        try:
            url = urlsplit(wanted)
        except ValueError:
            url = urlsplit("")
        service = SERVICES.get(url.hostname or "")
        if service is None or url.scheme != "https":
            raise BadRequestError("x-fal-target-url is not a URL of one of fal's hosts")
        return Target(service, unquote(url.path) or "/", f"https://{url.hostname}", by_proxy=True)
    host = request.headers.get("host", "").lower()
    name = host.rpartition(":")[0] if ":" in host else host
    path = request.scope["path"]
    if name in SERVICES:
        return Target(SERVICES[name], path, f"https://{name}")
    # Any other name would be a page elsewhere whose host was made to resolve to this machine.
    if name not in LOOPBACK_HOSTS:
        raise BadRequestError("The Host header is neither one of fal's hosts nor this machine")
    base = f"{request.scope['scheme']}://{host}"
    if path.startswith("/queue/"):
        return Target("queue", path.removeprefix("/queue"), base + "/queue")
    service = next((service for prefix, service in LOCAL_PREFIXES if path.startswith(prefix)), "run")
    return Target(service, path, base)


def _require_key(request: Request, app_id: str) -> None:
    authorization = request.headers.get("authorization")
    if not authorization:
        raise UnauthorizedError(
            f'Cannot access application "{app_id}". Authentication is required to access this application.'
        )
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() not in ("key", "bearer") or not credentials.strip():
        raise UnauthorizedError("No user found for Key ID and Secret")


def _start_timeout(request: Request) -> float | None:
    text = request.headers.get("x-fal-request-timeout")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 < seconds < 1e9:
        raise BadRequestError("X-Fal-Request-Timeout is a number of seconds above 0.1")
    return seconds


def _with_query(path: str, request: Request) -> str:
    path = _quoted(path)
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([(name, value) for name, value in pairs if name not in FOR_PLATFORM])
    return f"{path}?{query}" if query else path


def _quoted(path: str) -> str:
    return quote(path, safe=PATH_CHARACTERS)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError(f"A request can have at most {MAX_BODY_BYTES} bytes")
    return bytes(body)
